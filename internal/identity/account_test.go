package identity

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

const lockedOut = `{"type":"Error","errorMessages":["This account is locked."]}`

func (b *bench) try(password string) string {
	b.t.Helper()
	return text(b.t, b.do("POST", "/api/Identity/login",
		`{"login":"demo","password":"`+password+`","deviceDetails":"d"}`))
}

func TestFiveWrongPasswordsLock(t *testing.T) {
	b := newBench(t, nil)
	for range maxFailures - 1 {
		b.try("wrong")
	}
	b.login(false) // the right one begins the count anew
	for range maxFailures {
		if got := b.try("wrong"); strings.Contains(got, "locked") {
			t.Fatal("locked too early")
		}
	}
	b.pass(lockOut - 1)
	if got := b.try(testPassword); got != lockedOut {
		t.Errorf("locked account: %s", golden(got))
	}
	b.pass(1)
	b.login(false)
}

// TestGuessesAtOnceLearnNoMore: of guesses that all passed the first look at the
// lock before any was counted, only five are told from the right password.
func TestGuessesAtOnceLearnNoMore(t *testing.T) {
	b := newBench(t, nil)
	a := b.find(Unknown, "demo")
	for i := range 20 {
		want := errLocked
		if i < maxFailures {
			want = errCredentials
		}
		if err := a.record(false, b.Now()); !errors.Is(err, want) {
			t.Errorf("guess %d: %v, want %v", i, err, want)
		}
	}
	if err := a.record(true, b.Now()); !errors.Is(err, errLocked) {
		t.Errorf("right password: %v, want %v", err, errLocked)
	}
}

func TestMagicLinkDoesNotOpenALockedAccount(t *testing.T) {
	b := newBench(t, nil)
	b.do("POST", "/api/Identity/request-magic-link", `{"email":"demo@evertoken.dev"}`)
	for range maxFailures {
		b.try("wrong")
	}
	link := `{"type":"MagicLink","login":"demo@evertoken.dev","password":"` + b.Code("demo", ForMagicLink) +
		`","deviceDetails":"d"}`
	if got := text(t, b.do("POST", "/api/Identity/login", link)); got != lockedOut {
		t.Errorf("locked account: %s", golden(got))
	}
	b.pass(lockOut)
	if got := b.do("POST", "/api/Identity/login", link); len(got.Cookies()) != 1 {
		t.Error("the code was spent although the account was locked")
	}
}

func TestUnknownLoginCostsAPassword(t *testing.T) {
	b := newBench(t, func(cfg *Config) { cfg.PasswordIterations = 7 })
	known := b.find(Unknown, "demo").password
	if b.decoy.iterations != known.iterations || len(b.decoy.hash) != len(known.hash) ||
		len(b.decoy.salt) != len(known.salt) {
		t.Errorf("decoy of %d iterations, a password of %d", b.decoy.iterations, known.iterations)
	}
}

func TestPasswordIsNotKept(t *testing.T) {
	b := newBench(t, nil)
	a := b.find(Unknown, "demo")
	if got := fmt.Sprintf("%+v", *a); strings.Contains(got, testPassword) {
		t.Error("the account holds its password")
	}
	if !a.password.matches(testPassword) || a.password.matches(testPassword+"x") || a.password.matches("") {
		t.Error("the hash does not tell passwords apart")
	}
}

func TestNewReportsAllFaults(t *testing.T) {
	_, err := New(Config{
		PasswordIterations: 1,
		Accounts: []Account{
			{Email: "a@b.c", Password: "x"},
			{Email: "A@b.c", UserName: "other", Password: "x"},
			{Email: "d@b.c"},
			{Email: "e@b.c", Password: "hidden", Claims: map[string][]string{"exp": {"1"}}},
		},
		Clients: []Client{{ID: "c"}},
	})
	want := `evertoken: Accounts[1]: evertoken: Email "A@b.c" is already taken
evertoken: Accounts[2]: evertoken: Email and Password must not be empty
evertoken: Accounts[3]: evertoken: Claims has the reserved name "exp"
evertoken: Clients[0]: ID and Secret must not be empty`
	if err == nil || err.Error() != want {
		t.Errorf("got %v\nwant %s", err, want)
	}
}

func TestZeroConfigWorks(t *testing.T) {
	s, err := New(Config{Accounts: []Account{{Email: "a@b.c", Password: "x"}}, PasswordIterations: 1})
	if err != nil {
		t.Fatal(err)
	}
	before := time.Now()
	g, err := s.begin(signIn{who: s.find(Email, "a@b.c").subject()})
	if err != nil {
		t.Fatal(err)
	}
	c, err := s.verify(g.access)
	if err != nil || c.Name != "a@b.c" || c.ExpiresAt.Before(before.Add(119*time.Minute)) {
		t.Errorf("claims %+v, error %v", c, err)
	}
}

// TestVirtualTime: nothing of the server runs beside its requests or waits, so
// that a bubble with its clock is all the world it needs.
func TestVirtualTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, func(cfg *Config) { cfg.Now = nil })
		access, _ := b.login(true)
		if got := b.profileStatus(access); got != 200 {
			t.Errorf("fresh: status %d", got)
		}
		<-time.After(2 * time.Hour)
		if got := b.profileStatus(access); got != 401 {
			t.Errorf("two hours later: status %d, want 401", got)
		}
	})
}
