package lightnap_test

import (
	"errors"
	"net/http/httptest"
	"testing"

	"github.com/evertoken/evertoken"
	"github.com/evertoken/evertoken/internal/identity"
	"github.com/evertoken/evertoken/issuer/lightnap"
)

// newServer is the matching server on a loopback port.
func newServer(t *testing.T, cfg identity.Config) (*identity.Server, *lightnap.Issuer) {
	t.Helper()
	cfg.PasswordIterations = 1
	core, err := identity.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	srv := httptest.NewServer(core)
	t.Cleanup(srv.Close)
	return core, &lightnap.Issuer{BaseURL: srv.URL, DeviceDetails: "the test"}
}

func wantOutcome(t *testing.T, step string, err error, want evertoken.Outcome) {
	t.Helper()
	var failed *evertoken.RefreshError
	if !errors.As(err, &failed) || failed.Outcome != want {
		t.Errorf("%s: %v, want %v", step, err, want)
	}
}

func TestTwoFactors(t *testing.T) {
	core, issuer := newServer(t, identity.Config{Accounts: []identity.Account{{Email: "me@example.com", Password: "Passw0rd!", TwoFactor: true}}})
	_, err := issuer.Login(t.Context(), lightnap.Credentials{Login: "me@example.com", Password: "Passw0rd!"})
	if !errors.Is(err, lightnap.ErrTwoFactorRequired) {
		t.Fatalf("Login: %v", err)
	}
	code := core.Code("me@example.com", identity.ForTwoFactor)
	token, err := issuer.VerifyCode(t.Context(), lightnap.Verification{Login: "me@example.com", Code: code, RememberMe: true})
	if err != nil || token.RefreshToken == "" || token.RefreshExpiry.IsZero() {
		t.Fatalf("VerifyCode = %v, %v", token, err)
	}
	if _, err := issuer.Refresh(t.Context(), token); err != nil {
		t.Errorf("Refresh: %v", err)
	}
	_, err = issuer.VerifyCode(t.Context(), lightnap.Verification{Login: "me@example.com", Code: code})
	wantOutcome(t, "a code used twice", err, evertoken.Rejected)
}

func TestMagicLink(t *testing.T) {
	core, issuer := newServer(t, identity.Config{Accounts: []identity.Account{{Email: "me@example.com", Password: "Passw0rd!"}}})
	if err := issuer.RequestMagicLink(t.Context(), "me@example.com"); err != nil {
		t.Fatal(err)
	}
	token, err := issuer.Login(t.Context(), lightnap.Credentials{
		Login: "me@example.com", Password: core.Code("me@example.com", identity.ForMagicLink), MagicLink: true, RememberMe: true,
	})
	if err != nil || token.AccessToken == "" || token.RefreshToken == "" {
		t.Fatalf("Login = %v, %v", token, err)
	}
}

func TestRegister(t *testing.T) {
	_, issuer := newServer(t, identity.Config{})
	token, err := issuer.Register(t.Context(), lightnap.Registration{Email: "new@example.com", UserName: "new", Password: "Passw0rd!"})
	if err != nil {
		t.Fatal(err)
	}
	user, err := lightnap.Identity(token)
	if err != nil || user.Email != "new@example.com" || user.Name != "new" || user.ID == "" || len(user.Roles) != 0 {
		t.Errorf("Identity = %+v, %v", user, err)
	}
	_, err = issuer.Register(t.Context(), lightnap.Registration{Email: "new@example.com", UserName: "new2", Password: "Passw0rd!"})
	wantOutcome(t, "an address used twice", err, evertoken.Rejected)
	_, verifying := newServer(t, identity.Config{VerifyEmail: true})
	_, err = verifying.Register(t.Context(), lightnap.Registration{Email: "new@example.com", UserName: "new", Password: "Passw0rd!"})
	if !errors.Is(err, lightnap.ErrEmailVerificationRequired) {
		t.Errorf("Register: %v", err)
	}
}

// What somebody sees and does of other sessions, and what is refused.
func TestDevices(t *testing.T) {
	core, issuer := newServer(t, identity.Config{Accounts: []identity.Account{{Email: "me@example.com", Password: "Passw0rd!"}}})
	signIn := func() evertoken.Token {
		token, err := issuer.Login(t.Context(), lightnap.Credentials{Login: "me@example.com", Password: "Passw0rd!"})
		if err != nil {
			t.Fatal(err)
		}
		return token
	}
	here, lost := signIn(), signIn()
	devices, err := issuer.Devices(t.Context(), here)
	if err != nil || len(devices) != 2 {
		t.Fatalf("Devices = %+v, %v", devices, err)
	}
	if err := issuer.RevokeDevice(t.Context(), here, devices[0].ID); err != nil { // the one that ends last
		t.Fatal(err)
	}
	_, err = issuer.Refresh(t.Context(), lost)
	wantOutcome(t, "Refresh of a revoked device", err, evertoken.Rejected)
	if _, err := issuer.Refresh(t.Context(), here); err != nil {
		t.Errorf("Refresh of the other: %v", err)
	}
	wantOutcome(t, "RevokeDevice, again", issuer.RevokeDevice(t.Context(), here, devices[0].ID), evertoken.Rejected)
	if err := issuer.RevokeDevice(t.Context(), here, ""); err == nil {
		t.Error("RevokeDevice without an id passed")
	}
	core.ExpireAccessTokens()
	var failed *evertoken.RefreshError
	if _, err := issuer.Devices(t.Context(), here); !errors.As(err, &failed) || failed.StatusCode != 401 {
		t.Errorf("Devices with a refused token: %v", err)
	}
}

// Every generation of the server: renewals, rotation, and what logging out leaves.
func TestGenerations(t *testing.T) {
	for name, generation := range map[string]identity.Generation{"current": identity.Current, "older": identity.Older} {
		t.Run(name, func(t *testing.T) {
			_, issuer := newServer(t, identity.Config{
				Generation: generation,
				Accounts:   []identity.Account{{Email: "me@example.com", Password: "Passw0rd!", Roles: []string{"User", "Admin"}, Claims: map[string][]string{"team": {"red"}}}},
			})
			token, err := issuer.Login(t.Context(), lightnap.Credentials{Login: "me@example.com", Password: "Passw0rd!", RememberMe: true})
			if err != nil {
				t.Fatal(err)
			}
			for range 3 {
				next, err := issuer.Refresh(t.Context(), token)
				if err != nil {
					t.Fatal(err)
				}
				if rotated := next.RefreshToken != token.RefreshToken; rotated != (generation == identity.Older) {
					t.Fatalf("rotated = %v", rotated)
				}
				token = next
			}
			user, err := lightnap.Identity(token)
			if err != nil || !user.InRole("Admin") || !user.HasClaim("team", "red") || user.HasClaim("team", "blue") {
				t.Errorf("Identity = %+v, %v", user, err)
			}
			devices, err := issuer.Devices(t.Context(), token)
			if err != nil || len(devices) != 1 || devices[0].Details != "the test" || devices[0].ID == "" {
				t.Errorf("Devices = %+v, %v", devices, err)
			}
			if err := issuer.Revoke(t.Context(), token); err != nil {
				t.Errorf("Revoke: %v", err)
			}
			_, err = issuer.Refresh(t.Context(), token)
			wantOutcome(t, "Refresh after Revoke", err, evertoken.Rejected)
			if err := issuer.Revoke(t.Context(), token); err != nil {
				t.Errorf("Revoke of a session that has ended: %v", err)
			}
		})
	}
}
