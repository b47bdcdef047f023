package testserver

import "syscall"

// attributes makes a child run as the owner, and end when this process does,
// however it ends.
func attributes(as *owner) *syscall.SysProcAttr {
	attr := &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if as != nil {
		attr.Credential = &syscall.Credential{Uid: as.uid, Gid: as.gid}
	}
	return attr
}
