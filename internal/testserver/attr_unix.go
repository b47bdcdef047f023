//go:build !linux && !windows

package testserver

import "syscall"

// attributes makes a child run as the owner.
func attributes(as *owner) *syscall.SysProcAttr {
	if as == nil {
		return nil
	}
	return &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: as.uid, Gid: as.gid}}
}
