package testserver

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
)

// Postgres is a PostgreSQL server on a socket in a folder of its own.
type Postgres struct {
	dir string
	as  *owner
	*Process
}

// HowPostgres tells how to get one.
const HowPostgres = "apt-get install postgresql, or set EVERTOKEN_TEST_POSTGRES to its URL"

// debian has server programs where PATH does not lead.
const debian = "/usr/lib/postgresql/*/bin"

// StartPostgres makes an empty database cluster and starts its server. The error
// is [ErrNotInstalled] if there is none on this machine. The superuser's server
// runs as the user postgres or nobody.
func StartPostgres() (*Postgres, error) {
	initdb, err := program("initdb", debian)
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "postgres-") // a socket's path must be short
	if err != nil {
		return nil, fmt.Errorf("testserver: %w", err)
	}
	p := &Postgres{dir: dir, as: unprivileged("postgres")}
	err = p.as.give(dir)
	if err == nil {
		err = p.command(initdb, "-D", p.data(), "-U", "evertoken", "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync").Run()
	}
	if err == nil {
		err = p.Start()
	}
	if err != nil {
		_ = os.RemoveAll(dir)
		return nil, fmt.Errorf("testserver: postgres: %w", err)
	}
	return p, nil
}

func (p *Postgres) data() string { return filepath.Join(p.dir, "data") }

// command runs as the owner, in a folder that the owner may read.
func (p *Postgres) command(path string, args ...string) *exec.Cmd {
	cmd := exec.Command(path, args...)
	cmd.SysProcAttr = attributes(p.as)
	cmd.Dir = p.dir
	return cmd
}

// Start starts the server again, on what it had written.
func (p *Postgres) Start() error {
	path, err := program("postgres", debian)
	if err != nil {
		return err
	}
	p.Process, err = start(p.command(path, "-D", p.data(), "-k", p.dir, "-c", "listen_addresses="),
		"database system is ready to accept connections")
	return err
}

// URL is where the server is.
func (p *Postgres) URL() string { return "postgres://evertoken@/postgres?host=" + p.dir }

// Kill ends the server and all its sessions at once, without a checkpoint, as an
// immediate shutdown does. Start starts it again, and it recovers.
func (p *Postgres) Kill() { p.end(syscall.SIGQUIT) }

// Stop ends the server for good and removes its folder.
func (p *Postgres) Stop() {
	if p == nil {
		return
	}
	p.Kill()
	_ = os.RemoveAll(p.dir)
}

// A Bouncer is PgBouncer in front of a PostgreSQL server, pooling transactions:
// one client's two statements may run on two connections, and two clients' on
// one.
type Bouncer struct {
	dir string
	*Process
}

// HowBouncer tells how to get one.
const HowBouncer = "apt-get install pgbouncer"

// StartBouncer starts a proxy with two connections to the server. The error is
// [ErrNotInstalled] if there is none on this machine.
func (p *Postgres) StartBouncer() (*Bouncer, error) {
	path, err := program("pgbouncer", "/usr/sbin")
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "bouncer-")
	if err != nil {
		return nil, fmt.Errorf("testserver: %w", err)
	}
	b := &Bouncer{dir: dir}
	config := filepath.Join(dir, "ini")
	err = errors.Join(p.as.give(dir), os.WriteFile(config, []byte(strings.Join([]string{
		"[databases]", "* = host=" + p.dir + " user=evertoken",
		"[pgbouncer]", "unix_socket_dir = " + dir, "listen_addr =", "auth_type = any",
		"pool_mode = transaction", "default_pool_size = 2", "max_client_conn = 500", "",
	}, "\n")), 0o600), p.as.give(config))
	if err == nil {
		b.Process, err = start(p.command(path, config), "process up")
	}
	if err != nil {
		_ = os.RemoveAll(dir)
		return nil, fmt.Errorf("testserver: pgbouncer: %w", err)
	}
	return b, nil
}

// URL is where the proxy is.
func (b *Bouncer) URL() string { return "postgres://evertoken@/postgres?host=" + b.dir + "&port=6432" }

// Stop ends the proxy and removes its folder.
func (b *Bouncer) Stop() {
	if b == nil {
		return
	}
	b.end(os.Kill)
	_ = os.RemoveAll(b.dir)
}
