package evertoken_test

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"testing"
	"time"

	"github.com/evertoken/evertoken"
	"github.com/evertoken/evertoken/evertest"
	"github.com/evertoken/evertoken/issuer/lightnap"
	"github.com/evertoken/evertoken/issuer/oauth"
	"github.com/evertoken/evertoken/storage"
)

// A trouble is what a section of docs/when-things-fail.md tells of.
type trouble struct {
	section string
	happens func(*testing.T) *stage
}

// twoHours is a program that signed in by hand, and so has no Login.
func twoHours(t *testing.T) *stage { return signedIn(t, evertest.Options{}, nil) }

func signedIn(t *testing.T, options evertest.Options, change func(*stage)) *stage {
	s := newStage(t, options, change)
	s.signIn()
	return s
}

// answers is an issuer's answer, word for word.
func answers(status int, contentType, body string, headers ...string) evertest.Fault {
	return func(w http.ResponseWriter, _ *http.Request, _ http.Handler) {
		w.Header().Set("Content-Type", contentType)
		for i := 0; i+1 < len(headers); i += 2 {
			w.Header().Set(headers[i], headers[i+1])
		}
		w.WriteHeader(status)
		_, _ = io.WriteString(w, body)
	}
}

// A source is an issuer in one function.
type source func(evertoken.Token) (evertoken.Token, error)

func (f source) Refresh(_ context.Context, t evertoken.Token) (evertoken.Token, error) { return f(t) }
func (source) Origins() []string                                                       { return []string{"http://localhost"} }

// rotating is an issuer that takes each refresh token once.
func rotating() evertest.Options { return evertest.Options{Rotate: true} }

func troubles() []trouble {
	nobody := &net.OpError{Op: "dial", Net: "tcp", Err: &net.DNSError{Err: "no such host", Name: "api.example.com", IsNotFound: true}}
	refused := func(s *stage) { s.set(&s.dial, nobody) }
	return []trouble{
		{"Nothing fails", func(t *testing.T) *stage {
			s := twoHours(t)
			s.due()
			return s
		}},
		{"The issuer cannot be reached", func(t *testing.T) *stage {
			s := twoHours(t)
			refused(s)
			s.due()
			s.dead()
			s.visit()
			return s
		}},
		{"The issuer is busy, or a proxy answers for it", func(t *testing.T) *stage {
			s := twoHours(t)
			s.srv.Fail(1, answers(503, "text/plain", "later", "Retry-After", "120"))
			s.due()
			return s
		}},
		{"The issuer is busy, or a proxy answers for it", func(t *testing.T) *stage {
			s := twoHours(t)
			s.srv.Fail(100, evertest.Status(http.StatusBadGateway))
			s.due()
			return s
		}},
		{"The connection breaks after the request was sent", func(t *testing.T) *stage {
			s := signedIn(t, rotating(), nil)
			s.srv.Fail(2, evertest.DropBefore())
			s.due()
			s.dead()
			return s
		}},
		{"The reply is lost, and the issuer knows no grace", func(t *testing.T) *stage {
			s := signedIn(t, rotating(), nil)
			s.srv.Fail(1, evertest.DropAfter())
			s.due()
			return s
		}},
		{"The issuer says something that explains nothing", func(t *testing.T) *stage {
			s := twoHours(t)
			s.srv.Fail(2, answers(500, "application/json", "{}"))
			s.due()
			return s
		}},
		{"The issuer does not answer", func(t *testing.T) *stage {
			s := twoHours(t)
			s.srv.Fail(1, evertest.Delay(time.Hour))
			s.pass(119*time.Minute + 10*time.Second)
			s.look()
			s.dead()
			return s
		}},
		{"The issuer ends the session", func(t *testing.T) *stage {
			s := twoHours(t)
			s.srv.RevokeSessions()
			s.due()
			s.dead()
			s.look()
			s.visit()
			return s
		}},
		{"The issuer ends the session", func(t *testing.T) *stage {
			s := signedIn(t, evertest.Options{}, func(s *stage) { s.cfg.Login = s.login })
			s.srv.RevokeSessions()
			s.due()
			return s
		}},
		{"The issuer does not accept the program", func(t *testing.T) *stage {
			s := signedIn(t, evertest.Options{}, func(s *stage) {
				auth, err := oauth.ClientSecretBasic("my-client", "old")
				if err != nil {
					s.t.Fatal(err)
				}
				s.cfg.Issuer = &oauth.Issuer{TokenURL: s.srv.URL + "/oauth/token", Client: auth, APIs: []string{s.srv.URL}, Transport: s.srv.Transport()}
			})
			s.srv.Fail(1, answers(401, "application/json", `{"error":"invalid_client","error_description":"the secret has expired"}`))
			s.due()
			return s
		}},
		{"Login fails", func(t *testing.T) *stage {
			s := newStage(t, evertest.Options{}, func(s *stage) {
				s.cfg.Login = func(ctx context.Context) (evertoken.Token, error) {
					return s.srv.Issuer().Login(ctx, lightnap.Credentials{Login: evertest.Login, Password: "wrong"})
				}
			})
			s.visit()
			return s
		}},
		{"Login fails", func(t *testing.T) *stage {
			s := newStage(t, evertest.Options{}, func(s *stage) {
				s.cfg.Login = func(context.Context) (evertoken.Token, error) {
					return evertoken.Token{}, errors.New("the vault is sealed")
				}
			})
			s.visit()
			return s
		}},
		{"The API refuses a token that has not expired", func(t *testing.T) *stage {
			s := twoHours(t)
			for range 2 {
				s.srv.ExpireAccessTokens()
				s.visit()
			}
			return s
		}},
		{"The new token cannot be saved", func(t *testing.T) *stage {
			s := twoHours(t)
			s.srv.Fail(1, func(w http.ResponseWriter, r *http.Request, next http.Handler) {
				s.set(&s.save, errFull)
				next.ServeHTTP(w, r)
			})
			s.due()
			s.pass(10 * time.Second)
			s.say(s.client.Close().Error())
			return s
		}},
		{"The store cannot be written", func(t *testing.T) *stage {
			s := twoHours(t)
			s.set(&s.save, errFull)
			s.due()
			s.dead()
			s.visit()
			s.pass(10 * time.Second) // saving is tried again
			return s
		}},
		{"The store cannot be read", func(t *testing.T) *stage {
			s := twoHours(t)
			s.set(&s.load, errors.New("redisstore: load: dial tcp 192.0.2.7:6379: connect: connection refused"))
			s.due()
			s.dead()
			s.visit()
			_, err := evertoken.New(t.Context(), s.cfg)
			s.say(err.Error())
			return s
		}},
		{"The record is damaged", func(t *testing.T) *stage {
			s := newStage(t, evertest.Options{}, func(s *stage) {
				if _, err := s.store.Save(s.t.Context(), "default", []byte("{half"), ""); err != nil {
					s.t.Fatal(err)
				}
			})
			s.visit()
			s.pass(time.Minute)
			return s
		}},
		{"The record is sealed with another key", func(t *testing.T) *stage {
			var newer storage.Store
			s := signedIn(t, evertest.Options{}, func(s *stage) {
				key := make([]byte, 32)
				s.cfg.Store = storage.Encrypt(s.store, key)
				newer = storage.Encrypt(s.store, append(key[1:], 1), key)
			})
			item, err := newer.Load(t.Context(), "default")
			if err == nil {
				_, err = newer.Save(t.Context(), "default", item.Data, item.Version)
			}
			if err != nil {
				t.Fatal(err)
			}
			s.pass(time.Minute + time.Second)
			s.look()
			_, err = evertoken.New(t.Context(), s.cfg)
			s.say(err.Error())
			return s
		}},
		{"Another process has the right to send", func(t *testing.T) *stage {
			s := twoHours(t)
			if _, err := s.store.Acquire(t.Context(), "default", time.Minute); err != nil {
				t.Fatal(err)
			}
			s.pass(118 * time.Minute)
			return s
		}},
		{"Another process died while its request was under way", func(t *testing.T) *stage {
			s := signedIn(t, rotating(), nil)
			heir := storage.NewMemory()
			s.srv.Fail(1, func(w http.ResponseWriter, r *http.Request, next http.Handler) {
				item, err := s.store.Load(t.Context(), "default")
				if err == nil {
					_, err = heir.Save(t.Context(), "default", item.Data, "")
				}
				if err != nil {
					t.Error(err)
				}
				panic(http.ErrAbortHandler)
			})
			s.srv.Fail(1, evertest.DropBefore())
			s.pass(116 * time.Minute)
			_ = s.client.Close()
			s.mu.Lock()
			s.lines = nil
			s.mu.Unlock()
			s.cfg.Store = heir
			client, err := evertoken.New(t.Context(), s.cfg)
			if err != nil {
				t.Fatal(err)
			}
			s.client = client
			s.pass(time.Minute)
			s.look()
			s.say(client.Status().Err.Error())
			s.dead()
			return s
		}},
		{"Somebody signs out", func(t *testing.T) *stage {
			s := twoHours(t)
			if err := s.store.Delete(t.Context(), "default", ""); err != nil {
				t.Fatal(err)
			}
			s.pass(time.Minute + time.Second)
			s.look()
			s.visit()
			return s
		}},
		{"Signing out cannot be told to the issuer", func(t *testing.T) *stage {
			s := twoHours(t)
			refused(s)
			s.say(s.client.SignOut(t.Context()).Error())
			return s
		}},
		{"Tokens live no longer than the window", func(t *testing.T) *stage {
			s := signedIn(t, evertest.Options{Lifetime: 5 * time.Minute}, nil)
			s.pass(2 * time.Minute)
			return s
		}},
		{"The issuer returns the same token", func(t *testing.T) *stage {
			s := signedIn(t, evertest.Options{}, func(s *stage) {
				s.cfg.Issuer = source(func(t evertoken.Token) (evertoken.Token, error) { return t, nil })
			})
			s.due()
			return s
		}},
		{"The new token has ended when it arrives", func(t *testing.T) *stage {
			s := signedIn(t, evertest.Options{}, func(s *stage) {
				s.cfg.Issuer = source(func(evertoken.Token) (evertoken.Token, error) {
					return evertoken.Token{AccessToken: "late", RefreshToken: "next", Expiry: s.Now().Add(-time.Minute)}, nil
				})
			})
			s.due()
			s.dead()
			return s
		}},
		{"The machine was asleep", func(t *testing.T) *stage {
			s := twoHours(t)
			s.pass(time.Minute)
			s.sleep(3 * time.Hour)
			s.visit()
			return s
		}},
		{"The configuration is wrong", func(t *testing.T) *stage {
			s := twoHours(t)
			_, err := evertoken.New(t.Context(), evertoken.Config{
				Issuer:         &lightnap.Issuer{BaseURL: "http://api.example.com"},
				WindowFraction: 25,
			})
			s.say(err.Error())
			return s
		}},
	}
}
