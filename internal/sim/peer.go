package sim

import (
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/evertoken/evertoken"
	"github.com/evertoken/evertoken/internal/record"
	"github.com/evertoken/evertoken/storage"
)

// A client is what a process runs: evertoken's, or a peer of it.
type client interface {
	Token(ctx context.Context) (evertoken.Token, error)
	SignIn(ctx context.Context, t evertoken.Token) error
	SignOut(ctx context.Context) error
	Refresh(ctx context.Context) error
	Status() evertoken.Status
	HTTP() *http.Client
	Close() error
}

// A policy is how the programs of the field refresh: on demand, under a mutex,
// and each in its own way when something fails.
type policy struct {
	name    string
	timeout time.Duration // of one attempt
	tries   int           // on any error but the issuer's verdict
	reread  bool          // the store, before it sends: another process may have been faster
	gives   bool          // up the session on any error
}

// policies are those to compare with, the names as they stand in the README.
func policies() []*policy {
	return []*policy{
		{"refresh on demand, keep trying with each request", 30 * time.Second, 1, false, false},
		{"the same, and look into the store before", 30 * time.Second, 1, true, false},
		{"look into the store, 5 s timeout, 3 tries", 5 * time.Second, 3, true, false},
		{"look into the store, sign out on any error", 30 * time.Second, 1, true, true},
	}
}

// A peer keeps a session as most programs do. It sends through the same issuer
// adapters, and so over the same network, and saves to the same store.
type peer struct {
	policy
	p      *process
	issuer evertoken.Issuer
	store  storage.Store

	turn chan struct{} // a mutex that time can pass by
	now  record.Record // SID empty: signed out
}

func newPeer(ctx context.Context, p *process, issuer evertoken.Issuer) (*peer, error) {
	c := &peer{policy: *p.w.rival, p: p, issuer: issuer, store: p.w.store.open(p), turn: make(chan struct{}, 1)}
	_, err := c.load(ctx)
	return c, err
}

// lock waits for its turn and returns what ends it.
func (c *peer) lock() (unlock func()) {
	c.turn <- struct{}{}
	return func() { <-c.turn }
}

// load takes over what the store holds, and returns its version.
func (c *peer) load(ctx context.Context) (storage.Version, error) {
	item, err := c.store.Load(ctx, sessionKey)
	if errors.Is(err, storage.ErrNotFound) {
		c.now = record.Record{}
		return "", nil
	}
	if err != nil {
		return "", err
	}
	c.now, err = record.Decode(sessionKey, item.Data)
	return item.Version, err
}

// save writes over whatever is there: the last one wins.
func (c *peer) save(ctx context.Context, r record.Record) error {
	c.now = r
	data, err := r.Encode()
	for err == nil {
		var item storage.Item
		item, err = c.store.Load(ctx, sessionKey)
		if errors.Is(err, storage.ErrNotFound) {
			item, err = storage.Item{}, nil
		}
		if err != nil {
			break
		}
		if _, err = c.store.Save(ctx, sessionKey, data, item.Version); !errors.Is(err, storage.ErrConflict) {
			break
		}
		err = nil
	}
	return err
}

// early is how long before its end a token is renewed, as golang.org/x/oauth2 does.
const early = 10 * time.Second

func (c *peer) valid() bool {
	return c.now.SID != "" && c.p.Now().Round(0).Add(early).Before(c.now.Tokens.Expiry)
}

// Token implements client.
func (c *peer) Token(ctx context.Context) (evertoken.Token, error) {
	defer c.lock()()
	if !c.valid() {
		if err := c.renew(ctx); err != nil {
			return evertoken.Token{}, err
		}
	}
	return evertoken.Token(c.now.Tokens), nil
}

// renew makes the attempts of one request.
func (c *peer) renew(ctx context.Context) (err error) {
	for range c.tries {
		if c.reread {
			if _, err = c.load(ctx); err == nil && c.valid() {
				return nil
			}
		}
		if c.now.SID == "" {
			return evertoken.ErrSignedOut
		}
		if err = c.attempt(ctx); err == nil || errors.Is(err, evertoken.ErrSignedOut) || c.p.isDead() {
			return err
		}
	}
	return err
}

func (c *peer) attempt(ctx context.Context) error {
	limited, cancel := context.WithTimeout(context.WithoutCancel(ctx), c.timeout)
	defer cancel()
	sent, old := c.p.Now().Round(0), c.now
	t, err := c.issuer.Refresh(limited, evertoken.Token(old.Tokens))
	if err == nil {
		_ = c.save(context.WithoutCancel(ctx), old.Next(c.timed(t, sent, old), "due"))
		return nil
	}
	if c.p.isDead() {
		return err
	}
	var failed *evertoken.RefreshError
	rejected := errors.As(err, &failed) && failed.Outcome == evertoken.Rejected
	if !rejected && !c.gives {
		return err
	}
	if v, failed := c.load(ctx); failed == nil && c.now.Gen == old.Gen && c.now.SID == old.SID {
		if !rejected {
			c.p.w.check.abandoned(old.Tokens.RefreshToken)
		}
		c.p.w.check.signingOut(c.p)
		_ = c.store.Delete(ctx, sessionKey, v)
		c.now = record.Record{}
	}
	return evertoken.ErrSignedOut
}

// timed gives a token its times, and the refresh token that it did not bring.
func (c *peer) timed(t evertoken.Token, sent time.Time, old record.Record) record.Tokens {
	t.IssuedAt, t.Expiry = sent, sent.Add(c.p.w.lifetime)
	if t.RefreshToken == "" {
		t.RefreshToken = old.Tokens.RefreshToken
	}
	return record.Tokens(t)
}

// SignIn implements client.
func (c *peer) SignIn(ctx context.Context, t evertoken.Token) error {
	defer c.lock()()
	return c.save(ctx, record.First(c.timed(t, c.p.Now().Round(0), record.Record{}), "sign-in"))
}

// SignOut implements client.
func (c *peer) SignOut(ctx context.Context) error {
	defer c.lock()()
	old := c.now
	c.now = record.Record{}
	err := c.store.Delete(ctx, sessionKey, "")
	if r, ok := c.issuer.(interface {
		Revoke(context.Context, evertoken.Token) error
	}); ok && old.SID != "" {
		return errors.Join(err, r.Revoke(ctx, evertoken.Token(old.Tokens)))
	}
	return err
}

// Refresh implements client: a peer that is asked renews whatever it has.
func (c *peer) Refresh(ctx context.Context) error {
	defer c.lock()()
	c.now.Tokens.Expiry = time.Time{}
	return c.renew(ctx)
}

// Status implements client. Peers have none.
func (c *peer) Status() evertoken.Status { return evertoken.Status{} }

// HTTP implements client.
func (c *peer) HTTP() *http.Client {
	return &http.Client{Transport: &evertoken.Transport{Source: c, Origins: []string{baseURL}, Base: api{c.p}}}
}

// Close implements client.
func (c *peer) Close() error {
	defer c.lock()() // an exchange that is under way is waited for
	return nil
}
