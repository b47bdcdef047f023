package testserver

import "syscall"

// attributes changes nothing: there is no superuser who must not run a server.
func attributes(*owner) *syscall.SysProcAttr { return nil }
