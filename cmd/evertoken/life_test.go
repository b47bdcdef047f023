//go:build unix

package main

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// deviceLogin signs in with a code; the person types it when it is shown.
func (m *machine) deviceLogin(args ...string) *talk {
	m.t.Helper()
	k := m.start(fromStderr, append([]string{"login", m.far.url, "--client-id", clientID}, args...)...)
	k.expect("WDJB-MJHT")
	m.far.approve()
	if status := k.end(); status != 0 {
		m.t.Fatalf("login ended with %d:\n%s", status, k.said.String())
	}
	m.far.wantNoSecret("login", k.said.String())
	return k
}

// TestLife is a session from its beginning to its end.
func TestLife(t *testing.T) {
	far := newFarEnd(t)
	m := newMachine(t, far)
	m.wantStatus(3, `there is no session "default"; evertoken login signs in`, "token")
	k := m.deviceLogin()
	if said := k.said.String(); strings.Contains(said, "\x1b") || !strings.Contains(said, far.url+"/activate") || !strings.Contains(said, "good for 119 min") {
		t.Errorf("login said %q", said)
	}

	token := strings.TrimSpace(m.want("token"))
	if token == "" || m.want("token", "-o", "header") != "Authorization: Bearer "+token+"\n" {
		t.Errorf("token %q, header %q", token, m.want("token", "-o", "header"))
	}
	var cred struct {
		APIVersion, Kind string
		Status           struct {
			ExpirationTimestamp time.Time
			Token               string
		}
	}
	if err := json.Unmarshal([]byte(m.want("token", "-o", "exec-credential")), &cred); err != nil {
		t.Fatal(err)
	}
	if left := time.Until(cred.Status.ExpirationTimestamp); cred.APIVersion != "client.authentication.k8s.io/v1" ||
		cred.Kind != "ExecCredential" || cred.Status.Token != token || left < 118*time.Minute || left > 2*time.Hour {
		t.Errorf("%+v", cred)
	}
	if got := m.want("exec", "--", "sh", "-c", `echo "$ACCESS_TOKEN"`); got != token+"\n" {
		t.Errorf("exec had %q", got)
	}
	page := m.want("status")
	far.wantNoSecret("status", page)
	for _, words := range []string{"state         signed in", far.url + " (client app)", "for 119 min, until 20", "(sign-in)"} {
		if !strings.Contains(page, words) {
			t.Errorf("status lacks %q:\n%s", words, page)
		}
	}
	if next := strings.TrimSpace(m.want("token", "--refresh")); next == token || far.core.Counts().Refreshes != 1 {
		t.Errorf("%d refreshes, new token: %t", far.core.Counts().Refreshes, next != token)
	}
	m.want("logout")
	if n := far.core.Sessions(); n != 0 {
		t.Errorf("%d sessions at the issuer after logout", n)
	}
	m.wantStatus(3, "there is no session", "token")
	m.wantStatus(3, "there is no session", "status")
	m.want("logout")
}

// TestFiles: they are for their owner alone, and the profile holds no secret.
func TestFiles(t *testing.T) {
	far := newFarEnd(t)
	m := newMachine(t, far)
	m.deviceLogin("--api", "https://api.example.com")
	files, err := os.ReadDir(m.folder())
	if err != nil || len(files) < 3 {
		t.Fatal(files, err)
	}
	for _, f := range files {
		info, err := f.Info()
		if err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v, %v", f.Name(), info.Mode(), err)
		}
		text, err := os.ReadFile(filepath.Join(m.folder(), f.Name()))
		if err != nil {
			t.Error(err)
		}
		if strings.Contains(f.Name(), "profile") {
			far.wantNoSecret("the profile", string(text))
			if !strings.Contains(string(text), `"https://api.example.com"`) {
				t.Errorf("the profile lacks the API:\n%s", text)
			}
		}
	}
	if info, err := os.Stat(m.folder()); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("the folder: %v, %v", info.Mode(), err)
	}
}

// TestBrowser: the browser comes back over loopback, and nothing secret is in its
// arguments.
func TestBrowser(t *testing.T) {
	far := newFarEnd(t)
	m := newMachine(t, far)
	m.set("BROWSER", filepath.Join(m.bin, "browser"))
	r := m.run("login", far.url, "--client-id", clientID)
	if r.status != 0 || !strings.Contains(r.err, far.url+"/authorize?") {
		t.Fatalf("login ended with %d:\n%s", r.status, r.err)
	}
	m.want("token")
	first := m.want("status")
	m.want("login", far.url, "--client-id", clientID, "--param", "prompt=consent", "--param", "resource=a", "--param", "resource=b")
	m.want("login") // once more, as the last time
	if got := far.query(); got.Get("prompt") != "consent" || len(got["resource"]) != 2 {
		t.Errorf("the browser was sent with %v", got)
	}
	with := m.env
	m.set("BROWSER", "")
	m.set("PATH", m.bin)
	k := m.start(fromStderr, "login") // where no browser is found, it is still as the last time
	m.env = with
	visit := strings.TrimSpace(k.expect(far.url + "/authorize?"))
	if err := exec.CommandContext(t.Context(), filepath.Join(m.bin, "browser"), visit).Run(); err != nil || k.end() != 0 {
		t.Errorf("by hand: %v\n%s", err, k.said.String())
	}
	if far.core.Sessions() != 4 || m.want("status") == "" {
		t.Errorf("%d sessions after four sign-ins; first\n%s", far.core.Sessions(), first)
	}
	r = m.run("login", far.url, "--client-id", clientID, "--redirect", "http://127.0.0.1:0/back")
	if r.status != 0 || !strings.Contains(r.err, "%2Fback") {
		t.Errorf("login ended with %d:\n%s", r.status, r.err)
	}
}

// TestConfidentialClient: its secret comes from the environment or from a file, is
// kept nowhere, and does not reach commands.
func TestConfidentialClient(t *testing.T) {
	far := newFarEnd(t)
	m := newMachine(t, far)
	m.set("BROWSER", filepath.Join(m.bin, "browser"))
	bare := m.env
	m.wantStatus(1, "invalid_client", "login", far.url, "--client-id", confident, "--browser")

	m.set(envSecret, secret)
	m.want("login", far.url, "--client-id", confident)
	m.want("token", "--refresh")
	if got := m.want("exec", "--", "sh", "-c", `echo "<$`+envSecret+`>"`); got != "<>\n" {
		t.Errorf("the command was given %q", got)
	}
	m.env = bare
	m.wantStatus(1, "client vault needs its secret, and EVERTOKEN_CLIENT_SECRET is empty", "token", "--refresh")

	file := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(file, []byte(secret+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	m.want("login", far.url, "--client-id", confident, "--secret-file", file)
	m.want("token", "--refresh")
	m.want("logout")
}

// TestLightNap: a password, and a code if the account wants one.
func TestLightNap(t *testing.T) {
	far := newFarEnd(t)
	m := newMachine(t, far)
	m.lightnap()
	m.want("token")
	if page := m.want("status"); !strings.Contains(page, user) || !strings.Contains(page, "renewable     for 29 days") {
		t.Error(page)
	}
	r := m.typed("wrong\n", "login", "--lightnap", far.url, user, "--password-stdin")
	if r.status != 1 || !strings.Contains(r.err, "Invalid login/password combination.") {
		t.Errorf("%d: %s", r.status, r.err)
	}
	m.want("token") // that has changed nothing
	m.wantStatus(1, "there is no answer", "login", "--lightnap", far.url, user, "--password-stdin")
	m.wantStatus(2, "the flags for OAuth make no sense there", "login", "--lightnap", far.url, user, "--device")
}

// TestSeveral: sessions do not know of each other.
func TestSeveral(t *testing.T) {
	far := newFarEnd(t)
	m := newMachine(t, far)
	m.lightnap()
	m.wantStatus(3, `there is no session "work"; evertoken login --session work signs in`, "token", "--session", "work")
	m.lightnap("--session", "work")
	if m.want("token") == m.want("token", "--session", "work") {
		t.Error("two sessions with one token")
	}
	m.want("logout", "--session=work")
	m.want("token")
	dir := t.TempDir()
	m.lightnap("--store", dir)
	m.want("token", "--store", dir)
}

// TestOneRenewal: processes that find the token expired spend the refresh token
// once, and all get the new one.
func TestOneRenewal(t *testing.T) {
	far := newFarEnd(t)
	m := newMachine(t, far)
	m.deviceLogin()
	old := m.want("token")
	m.age(-time.Minute)
	release := far.holdNext("/oauth/token")
	var all []*talk
	for range 4 {
		all = append(all, m.start(fromStdout, "token"))
	}
	<-far.held
	close(release)
	tokens := map[string]bool{}
	for _, k := range all {
		tokens[k.expect("eyJ")] = true
		if status := k.end(); status != 0 {
			t.Errorf("token ended with %d", status)
		}
	}
	if got := far.core.Counts(); len(tokens) != 1 || tokens[strings.TrimSpace(old)] || got.Refreshes != 1 || got.SpentTwice != 0 {
		t.Errorf("%d tokens, %+v", len(tokens), got)
	}
}

// TestEndingToken: one that is about to end is renewed before it is printed, and
// printed all the same if it cannot be.
func TestEndingToken(t *testing.T) {
	t.Parallel() // what a process leaves open the next waits for
	far := newFarEnd(t)
	m := newMachine(t, far)
	m.lightnap()
	old := m.want("token")
	m.age(6 * time.Minute)
	if m.want("token") != old || far.core.Counts().Refreshes != 0 {
		t.Error("a token with six minutes left was renewed")
	}
	m.age(4 * time.Minute)
	next := m.want("token")
	if next == old || far.core.Counts().Refreshes != 1 {
		t.Errorf("four minutes left: new token %t, %+v", next != old, far.core.Counts())
	}
	m.age(4 * time.Minute)
	far.core.FailRefreshes(1)
	r := m.run("token")
	if r.status != 0 || r.out != next || !strings.Contains(r.err, "good for another 3 min, and could not be renewed: ") {
		t.Errorf("%d: %s%s", r.status, r.out, r.err)
	}
	far.core.RevokeAll()
	m.age(-time.Minute)
	m.wantStatus(3, "signed out", "token")
	if r := m.run("status"); r.status != 3 || !strings.Contains(r.out, "signed out: the issuer has ended the session") {
		t.Errorf("status %d:\n%s", r.status, r.out)
	}
	m.lightnap()
	m.want("token")
}

// TestIDToken: it has an end of its own.
func TestIDToken(t *testing.T) {
	far := newFarEnd(t)
	m := newMachine(t, far)
	m.deviceLogin()
	if id := m.want("token", "--id-token"); id == m.want("token") || strings.Count(id, ".") != 2 {
		t.Errorf("id token %q", id)
	}
	m.lightnap()
	m.wantStatus(1, "the issuer gave no id token", "token", "--id-token")
}

// TestKilledInLogin: whoever is killed while signing in is still signed in as
// before.
func TestKilledInLogin(t *testing.T) {
	far := newFarEnd(t)
	m := newMachine(t, far)
	m.lightnap()
	before := m.want("token")
	release := far.holdNext("/oauth/token")
	far.approve()
	k := m.start(fromStderr, "login", far.url, "--client-id", clientID)
	<-far.held
	if err := k.cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	k.end()
	close(release)
	if m.want("token") != before || !strings.Contains(m.want("status"), user) {
		t.Error("the session before is gone")
	}
	m.deviceLogin()
	m.want("token", "--refresh")
}

// TestHalfALogin: a login that was killed between its two writes leaves the
// session before, and no token goes to the issuer of the other.
func TestHalfALogin(t *testing.T) {
	far, other := newFarEnd(t), newFarEnd(t)
	m := newMachine(t, far)
	m.deviceLogin()
	profile, err := filepath.Glob(filepath.Join(m.folder(), "*profile*"))
	if err != nil || len(profile) != 1 {
		t.Fatal(profile, err)
	}
	text, err := os.ReadFile(profile[0])
	if err != nil {
		t.Fatal(err)
	}
	m.far = other
	m.lightnap()
	if far.core.Sessions() != 0 {
		t.Error("the session at the issuer before was not ended")
	}
	m.want("token", "--refresh")
	if other.core.Counts().Refreshes != 1 {
		t.Errorf("%+v", other.core.Counts())
	}
	// As if the second write had not happened.
	if err := os.WriteFile(profile[0], text, 0o600); err != nil {
		t.Fatal(err)
	}
	m.wantStatus(3, "signed out", "token")
	if n := far.core.Counts().Refreshes; n != 0 {
		t.Errorf("the other issuer was asked %d times", n)
	}
}

// TestDamagedProfile: a file that somebody has overwritten is no session, and login
// replaces it.
func TestDamagedProfile(t *testing.T) {
	m := newMachine(t, newFarEnd(t))
	m.lightnap()
	profile, err := filepath.Glob(filepath.Join(m.folder(), "*profile*"))
	if err == nil {
		err = os.WriteFile(profile[0], []byte("junk"), 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	m.wantStatus(3, "the profile is damaged; evertoken login signs in", "token")
	m.lightnap()
	m.want("token")
}

// TestFolderFull: a process that cannot save the new refresh token does not spend
// the old one.
func TestFolderFull(t *testing.T) {
	far := newFarEnd(t)
	m := newMachine(t, far)
	m.lightnap()
	m.age(-time.Minute)
	block := filepath.Join(m.folder(), "write.tmp") // no record can be written while this is there
	if err := os.MkdirAll(filepath.Join(block, "x"), 0o700); err != nil {
		t.Fatal(err)
	}
	m.wantStatus(1, "store: save", "token")
	if n := far.core.Counts().Refreshes; n != 0 {
		t.Errorf("%d refreshes", n)
	}
	if err := os.RemoveAll(block); err != nil {
		t.Fatal(err)
	}
	m.want("token")
	m.want("token", "--refresh")
	if got := far.core.Counts(); got.SpentTwice != 0 {
		t.Errorf("%+v", got)
	}
}

// TestLogoutWithoutIssuer: here it counts in any case, and the exit status tells.
func TestLogoutWithoutIssuer(t *testing.T) {
	far := newFarEnd(t)
	m := newMachine(t, far)
	m.lightnap()
	far.srv.Close()
	m.wantStatus(1, "signed out here, but not at the issuer: ", "logout")
	m.wantStatus(3, "there is no session", "token")
}

// TestInterrupted: a renewal that is written is finished and saved before the
// process ends.
func TestInterrupted(t *testing.T) {
	for _, sig := range []os.Signal{os.Interrupt, syscall.SIGTERM, syscall.SIGHUP} {
		far := newFarEnd(t)
		m := newMachine(t, far)
		m.lightnap()
		m.age(-time.Minute)
		release := far.holdNext("/api/Identity/access-token")
		k := m.start(fromStderr, "token")
		<-far.held
		if err := k.cmd.Process.Signal(sig); err != nil {
			t.Fatal(err)
		}
		close(release)
		k.end()
		m.want("token")
		if got := far.core.Counts(); got.Refreshes != 1 || got.SpentTwice != 0 {
			t.Errorf("%v: %+v", sig, got)
		}
	}
}

// TestExec: the command takes our place.
func TestExec(t *testing.T) {
	far := newFarEnd(t)
	m := newMachine(t, far)
	m.wantStatus(125, "there is no session", "exec", "--", "true")
	m.lightnap()
	token := strings.TrimSpace(m.want("token"))
	m.set("ACCESS_TOKEN", "an old one")
	if got := m.want("exec", "sh", "-c", `echo "$ACCESS_TOKEN $1"`, "sh", "--env"); got != token+" --env\n" {
		t.Errorf("%q", got)
	}
	if got := m.want("exec", "--", "env"); strings.Count(got, "ACCESS_TOKEN=") != 1 {
		t.Errorf("the environment has both tokens:\n%s", got)
	}
	if got := m.want("exec", "--env", "T", "--", "sh", "-c", `echo "$T $ACCESS_TOKEN"`); got != token+" an old one\n" {
		t.Errorf("%q", got)
	}
	if r := m.run("exec", "--", "sh", "-c", "exit 7"); r.status != 7 || r.err != "" {
		t.Errorf("%+v", r)
	}
	m.wantStatus(127, "not found", "exec", "--", "no-such-command")
	m.wantStatus(126, "permission denied", "exec", "--", "/etc/passwd")
	m.wantStatus(2, "there is no command to run", "exec")

	k := m.start(fromStdout, "exec", "--", "sh", "-c", `trap 'exit 9' TERM; echo ready; while :; do read x; done`)
	k.expect("ready")
	if err := k.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if status := k.end(); status != 9 {
		t.Errorf("after SIGTERM: status %d", status)
	}
}

// TestWrongCalls say what is wrong, and how to go on.
func TestWrongCalls(t *testing.T) {
	m := newMachine(t, newFarEnd(t))
	for says, args := range map[string][]string{
		`there is no command "sign"`:                {"sign"},
		"not defined: -x; see evertoken help token": {"token", "-x"},
		"not defined: --bogus; see evertoken help":  {"token", "--bogus"},
		"an argument: --lightnap; see evertoken he": {"login", "--lightnap"},
		"flag needs an argument: -o; see evertoken": {"token", "-o"},
		`unexpected argument "now"`:                 {"status", "now"},
		"-o yaml is neither":                        {"token", "-o", "yaml"},
		"which issuer?":                             {"login"},
		"--client-id is missing":                    {"login", "https://issuer.example"},
		`there is no preset "x"`:                    {"login", "https://issuer.example", "--client-id", "a", "--preset", "x"},
		"would send tokens in the clear":            {"login", "https://issuer.example", "--client-id", "a", "--api", "http://api.example"},
		`"x" for flag --param: is not NAME=VALUE`:   {"login", "https://issuer.example", "--param", "x"},
		"choose one":                               {"login", "https://issuer.example", "--client-id", "a", "--device", "--browser"},
		"--session is empty":                       {"status", "--session", ""},
		`unexpected argument "b"`:                  {"login", "--lightnap", "https://x.example", "a", "b"},
		`no name of a variable`:                    {"exec", "--env", "A=B", "true"},
		`help: there is no command "sign"`:         {"help", "sign"},
		"flag needs an argument: --to":             {"proxy", "--to"},
		`invalid boolean value "maybe" for --dpop`: {"login", "--dpop=maybe"},
	} {
		m.wantStatus(2, says, args...)
	}
	m.wantStatus(1, "not https", "login", "issuer.example", "--client-id", "a")
	if r := m.run(); r.status != 2 || !strings.Contains(r.err, "evertoken login ISSUER-URL") {
		t.Errorf("%+v", r)
	}
	if out := m.want("version"); !strings.HasPrefix(out, "evertoken ") {
		t.Errorf("version: %q", out)
	}
	if out := m.want("token", "-h"); out != m.want("help", "token") || !strings.Contains(out, "--refresh") {
		t.Errorf("help: %q", out)
	}
}
