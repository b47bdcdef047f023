package xoauth2

import (
	"context"
	"errors"
	"sync"
	"time"

	"golang.org/x/oauth2"

	"github.com/evertoken/evertoken"
)

// A Minter renews by asking for another token. It serves sources that keep what
// they need for that to themselves: client credentials, service accounts, the
// metadata of a cloud.
//
//	minter := xoauth2.FromFunc(config.Token) // a clientcredentials.Config
//	client, err := evertoken.New(ctx, evertoken.Config{
//		Issuer:  minter,
//		Login:   minter.Mint,
//		Origins: []string{"https://api.example.com"},
//	})
//
// Its errors are [*evertoken.RefreshError]. Of those of x/oauth2 they hold the
// status, the OAuth error and the network's complaint; any other text is
// withheld, for sources are known to quote whole answers. To see it, wrap the
// source. A Minter is safe for concurrent use.
type Minter struct {
	mint func(context.Context) (*oauth2.Token, error)
}

var _ evertoken.Issuer = (*Minter)(nil)

// FromFunc returns a Minter that calls mint, such as the Token method of a
// clientcredentials.Config. mint must be safe for concurrent use, and should
// return soon after its context ends.
func FromFunc(mint func(context.Context) (*oauth2.Token, error)) *Minter {
	return &Minter{mint}
}

// FromSource returns a Minter that asks src. A refresh token that src shows is
// left out: src spends it by itself, and two spenders end a session. So its
// rotation is not saved either; where there is an oauth2.Config, use [Issuer].
//
// Most sources of x/oauth2 keep a token until 10 s before its expiry, and so
// renewal comes that late, if still in time. Give them the client's window:
//
//	oauth2.ReuseTokenSourceWithExpiry(nil, src, 5*time.Minute)
//
// src cannot be told to stop. A call of it that outlasts its context is left to
// finish, and whoever asks meanwhile waits for the same one.
func FromSource(src oauth2.TokenSource) *Minter {
	return &Minter{(&patient{src: src}).token}
}

// Mint returns a new token, for evertoken.Config.Login.
func (m *Minter) Mint(ctx context.Context) (evertoken.Token, error) {
	sent := time.Now()
	t, err := m.mint(ctx)
	if err != nil {
		return evertoken.Token{}, unminted(err)
	}
	if t == nil || t.AccessToken == "" {
		return evertoken.Token{}, &evertoken.RefreshError{Outcome: evertoken.Unavailable, Err: errors.New("xoauth2: the source returned no access token")}
	}
	e := Token(t)
	e.RefreshToken = ""
	e.IssuedAt = sent
	return e, nil
}

// Refresh implements [evertoken.Issuer]. What t holds is not needed.
func (m *Minter) Refresh(ctx context.Context, _ evertoken.Token) (evertoken.Token, error) {
	return m.Mint(ctx)
}

// A patient source gives each caller its own time. One goroutine asks src at a
// time; it ends when src returns.
type patient struct {
	src oauth2.TokenSource

	mu      sync.Mutex
	pending *call // nil: none
}

// A call is shared by all that came while it lasted. token and err are set
// before done is closed.
type call struct {
	done  chan struct{}
	token *oauth2.Token
	err   error
}

func (p *patient) token(ctx context.Context) (*oauth2.Token, error) {
	if p.src == nil {
		return nil, &evertoken.RefreshError{Outcome: evertoken.Misconfigured, Err: errors.New("xoauth2: FromSource: src is nil")}
	}
	c := p.join()
	select {
	case <-c.done:
		return c.token, c.err
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

// join returns the call under way, or starts one.
func (p *patient) join() *call {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.pending == nil {
		p.pending = &call{done: make(chan struct{})}
		go p.ask(p.pending)
	}
	return p.pending
}

func (p *patient) ask(c *call) {
	c.token, c.err = p.src.Token()
	p.mu.Lock()
	defer p.mu.Unlock()
	p.pending = nil
	close(c.done)
}
