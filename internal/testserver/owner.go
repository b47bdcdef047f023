package testserver

import (
	"os"
	"os/user"
	"strconv"
)

// An owner is whom a server runs as.
type owner struct{ uid, gid uint32 }

// unprivileged is whom a server that refuses the superuser is to run as; nil
// for this process's own user.
func unprivileged(names ...string) *owner {
	if os.Geteuid() != 0 {
		return nil
	}
	for _, name := range append(names, "nobody") {
		u, err := user.Lookup(name)
		if err != nil {
			continue
		}
		uid, uidErr := strconv.ParseUint(u.Uid, 10, 32)
		gid, gidErr := strconv.ParseUint(u.Gid, 10, 32)
		if uidErr == nil && gidErr == nil {
			return &owner{uint32(uid), uint32(gid)}
		}
	}
	return nil
}

// give makes a file or a folder the owner's.
func (o *owner) give(path string) error {
	if o == nil {
		return nil
	}
	return os.Chown(path, int(o.uid), int(o.gid))
}
