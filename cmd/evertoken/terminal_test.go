//go:build linux

package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/evertoken/evertoken/internal/identity"
)

// A desk is a terminal with a person at it, who sees what the program sees fit to
// show and types.
type desk struct {
	t      *testing.T
	master *os.File
	slave  *os.File
	seen   strings.Builder
}

func newDesk(t *testing.T) *desk {
	t.Helper()
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	var number int
	err = control(master, func(fd int) (err error) {
		if err := unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0); err != nil {
			return err
		}
		number, err = unix.IoctlGetInt(fd, unix.TIOCGPTN)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	slave, err := os.OpenFile(fmt.Sprintf("/dev/pts/%d", number), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = master.Close()
		_ = slave.Close()
	})
	return &desk{t: t, master: master, slave: slave}
}

// sit starts a command with the terminal as its own; stdin and stdout are not it.
func (d *desk) sit(m *machine, args ...string) *talk {
	d.t.Helper()
	k := &talk{m: m, cmd: m.command(args...)}
	k.cmd.Stderr = d.slave
	k.cmd.ExtraFiles = []*os.File{d.slave}
	k.cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true, Ctty: 3}
	if err := k.cmd.Start(); err != nil {
		d.t.Fatal(err)
	}
	return k
}

// see waits until the words are on the screen.
func (d *desk) see(words string) {
	d.t.Helper()
	for b := make([]byte, 256); !strings.Contains(d.seen.String(), words); {
		n, err := d.master.Read(b)
		if err != nil {
			d.t.Fatalf("%v; on the screen is %q, and not %q", err, d.seen.String(), words)
		}
		d.seen.Write(b[:n])
	}
}

func (d *desk) typeIn(keys string) {
	d.t.Helper()
	if _, err := d.master.WriteString(keys); err != nil {
		d.t.Fatal(err)
	}
}

func (d *desk) echoes() bool {
	d.t.Helper()
	var flags uint32
	err := control(d.slave, func(fd int) error {
		state, err := unix.IoctlGetTermios(fd, unix.TCGETS)
		if err == nil {
			flags = state.Lflag
		}
		return err
	})
	if err != nil {
		d.t.Fatal(err)
	}
	return flags&unix.ECHO != 0
}

func (d *desk) wantEnd(k *talk, status int) {
	d.t.Helper()
	_ = k.cmd.Wait() // the status tells
	if got := k.cmd.ProcessState.ExitCode(); got != status {
		d.t.Errorf("status %d, want %d; on the screen is %q", got, status, d.seen.String())
	}
	if !d.echoes() {
		d.t.Error("the terminal was left without echo")
	}
}

// TestTerminal: neither the password nor the code is on the screen, and the
// terminal is afterwards as it was.
func TestTerminal(t *testing.T) {
	far := newFarEnd(t)
	m, d := newMachine(t, far), newDesk(t)
	k := d.sit(m, "login", "--lightnap", far.url)
	d.see("E-mail address or user name: ")
	d.typeIn(strict + "\n")
	d.see("Password of " + strict + " at " + far.url + ": ")
	if d.echoes() {
		t.Error("the password would be shown")
	}
	d.typeIn(password + "\n")
	d.see("Code that was sent to you: ")
	code := far.core.Code(strict, identity.ForTwoFactor)
	d.typeIn(code + "\n")
	d.see("Signed in at ")
	d.wantEnd(k, 0)
	seen := d.seen.String()
	if !strings.Contains(seen, strict+"\r\n") {
		t.Errorf("the login was not shown: %q", seen)
	}
	if strings.Contains(seen, password) || strings.Contains(seen, code) {
		t.Errorf("on the screen is %q", seen)
	}
	m.want("token")
}

// TestTerminalInterrupted: Ctrl-C at the prompt ends the login, and the terminal
// is as it was.
func TestTerminalInterrupted(t *testing.T) {
	far := newFarEnd(t)
	m, d := newMachine(t, far), newDesk(t)
	k := d.sit(m, "login", "--lightnap", far.url, user)
	d.see("Password of ")
	d.typeIn("half a pass\x03")
	d.wantEnd(k, 1)
	if far.core.Sessions() != 0 {
		t.Error("somebody is signed in")
	}
}

// TestNoTerminal: a password is not read from anything else unless that is said.
func TestNoTerminal(t *testing.T) {
	far := newFarEnd(t)
	m := newMachine(t, far)
	cmd := m.command("login", "--lightnap", far.url, user)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	cmd.Stdin = strings.NewReader(password + "\n")
	out, err := cmd.CombinedOutput()
	if err == nil || !strings.Contains(string(out), "no --password-stdin") {
		t.Errorf("%v: %s", err, out)
	}
}

// TestExecKeepsSignals: what was ignored, as of a job that a script has put into the
// background, is ignored by the command, too; and nothing else is.
func TestExecKeepsSignals(t *testing.T) {
	far := newFarEnd(t)
	m := newMachine(t, far)
	m.lightnap()
	ignored := func(script string) string {
		cmd := m.command()
		cmd.Path, cmd.Args = "/bin/sh", []string{"sh", "-c", script, filepath.Join(m.bin, "evertoken")}
		out, err := cmd.Output()
		if err != nil {
			t.Errorf("%s: %v", script, err)
		}
		return string(out)
	}
	for _, setup := range []string{"", `trap "" INT; `, `trap "" HUP; `} {
		want := ignored(setup + "exec grep SigIgn /proc/self/status")
		if got := ignored(setup + `exec "$0" exec -- grep SigIgn /proc/self/status`); got != want {
			t.Errorf("after %q: %s, want %s", setup, got, want)
		}
	}
}

// TestProcessList: nothing secret is in the arguments of any process, nor in the
// environment of our own.
func TestProcessList(t *testing.T) {
	far := newFarEnd(t)
	m := newMachine(t, far)
	m.lightnap()
	k, _ := m.proxy()
	running := func(pid int, what string) {
		t.Helper()
		text, err := os.ReadFile(fmt.Sprintf("/proc/%d/%s", pid, what))
		if err != nil {
			t.Fatal(err)
		}
		if len(text) == 0 {
			t.Errorf("%s is empty", what)
		}
		far.wantNoSecret(what, string(text))
	}
	running(k.cmd.Process.Pid, "cmdline")
	running(k.cmd.Process.Pid, "environ")

	child := m.start(fromStdout, "exec", "--", "sh", "-c", "echo ready; read x")
	child.expect("ready")
	running(child.cmd.Process.Pid, "cmdline")

	release := far.holdNext("/oauth/token")
	far.approve()
	login := m.start(fromStderr, "login", far.url, "--client-id", clientID)
	<-far.held
	running(login.cmd.Process.Pid, "cmdline")
	running(login.cmd.Process.Pid, "environ")
	close(release)
	if status := login.end(); status != 0 {
		t.Errorf("login ended with %d:\n%s", status, login.said.String())
	}
}
