package sim

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"time"

	"github.com/evertoken/evertoken"
	"github.com/evertoken/evertoken/internal/identity"
)

const (
	baseURL  = "https://localhost"
	login    = "demo@example.com"
	password = "Passw0rd!demo"
)

// An issuer is the far end: the matching server's own core, behind whatever the
// network does to a request.
type issuer struct {
	w        *world
	identity *identity.Server
	http     *http.Server
	listener *listener
	served   chan struct{} // closed when http has ended

	mu     sync.Mutex    // requests are processed one at a time, so that counts can be told apart
	offset time.Duration // of its clock
}

func newIssuer(w *world) (*issuer, error) {
	i := &issuer{w: w, listener: newListener(), served: make(chan struct{})}
	generation := identity.Current
	if w.older {
		generation = identity.Older
	}
	var err error
	i.identity, err = identity.New(identity.Config{
		AccessLifetime:     w.lifetime,
		RememberLifetime:   10 * 365 * 24 * time.Hour,
		Rotate:             w.rotate,
		ReuseGrace:         w.grace,
		DetectReuse:        w.detect,
		Generation:         generation,
		Now:                i.now,
		PasswordIterations: 1, // it is in this file
		Accounts:           []identity.Account{{Email: login, UserName: "demo", Password: password}},
	})
	if err != nil {
		return nil, err
	}
	i.http = &http.Server{
		Handler:           i,
		ReadHeaderTimeout: 1000 * time.Hour, // who hangs up, and when, is for the seed to say
		ConnContext: func(ctx context.Context, c net.Conn) context.Context {
			if s, ok := c.(served); ok {
				return context.WithValue(ctx, linkKey{}, s.link)
			}
			return ctx
		},
	}
	go func() {
		defer close(i.served)
		_ = i.http.Serve(i.listener)
	}()
	return i, nil
}

type linkKey struct{}

// close ends the server and waits for it.
func (i *issuer) close() {
	_ = i.http.Close()
	<-i.served
}

func (i *issuer) accept(c net.Conn, l *link) { i.listener.conns <- served{c, l} }

func (i *issuer) now() time.Time {
	// Called by identity under i.mu or before there is anybody else.
	return time.Now().Add(i.offset)
}

// setClock moves the issuer's clock.
func (i *issuer) setClock(offset time.Duration) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.offset = offset
	i.w.check.refusesEarly()
}

// ServeHTTP is one request, with what its link has in store for it.
func (i *issuer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	l, ok := r.Context().Value(linkKey{}).(*link)
	if !ok {
		panic(http.ErrAbortHandler)
	}
	renewal := !strings.HasSuffix(r.URL.Path, "/logout") && !strings.HasSuffix(r.URL.Path, "/revoke")
	a := i.w.check.sent(l, refreshTokenOf(r), renewal)
	switch l.fate {
	case resetBefore:
		i.cut(a, l.delay)
	case deadPath:
		i.cut(a, 5*time.Second) // the keep-alive of the issuers' dialer sees to that
	case stall:
		i.silence(a, r)
	case html200, html403, html503, tooMany, tooManyWait:
		i.wait(l.delay)
		i.proxy(w, l)
		i.w.check.answered(a)
		return
	default: // it gets through
	}
	i.wait(l.delay)
	answer := i.process(r, a)
	switch l.fate {
	case lostReply:
		i.cut(a, l.delay)
	case deadPathAfter:
		i.cut(a, 5*time.Second)
	case gateway:
		i.w.check.cut(a) // it explains as little as a closed connection
		http.Error(w, "upstream timed out", http.StatusGatewayTimeout)
	case stallAfter:
		i.silence(a, r)
	default:
		i.reply(w, answer, l, a)
	}
}

// wait is the time that the issuer takes. It goes on when the client hangs up.
func (i *issuer) wait(d time.Duration) {
	select {
	case <-time.After(d):
	case <-i.w.over:
	}
}

// cut closes the connection from this side.
func (i *issuer) cut(a *attempt, d time.Duration) {
	i.wait(d)
	i.w.check.cut(a)
	panic(http.ErrAbortHandler)
}

// silence says nothing until the client hangs up.
func (i *issuer) silence(a *attempt, r *http.Request) {
	select {
	case <-r.Context().Done():
	case <-i.w.over:
	}
	i.w.check.cut(a)
	panic(http.ErrAbortHandler)
}

// proxy answers in the issuer's place.
func (i *issuer) proxy(w http.ResponseWriter, l *link) {
	status := map[fault]int{html200: 200, html403: 403, html503: 503, tooMany: 429, tooManyWait: 429}[l.fate]
	if l.fate == tooManyWait {
		w.Header().Set("Retry-After", "120")
	}
	w.Header().Set("Content-Type", "text/html")
	w.WriteHeader(status)
	_, _ = w.Write([]byte("<html><h1>come back later</h1></html>"))
}

// process lets the identity core do it, and tells the checker what it did.
func (i *issuer) process(r *http.Request, a *attempt) *httptest.ResponseRecorder {
	i.mu.Lock()
	defer i.mu.Unlock()
	answer := httptest.NewRecorder()
	i.identity.ServeHTTP(answer, r)
	answer.Header().Set("Date", i.now().UTC().Format(http.TimeFormat))
	i.w.check.processed(a, refreshTokenIn(answer), accessTokenIn(answer))
	return answer
}

// reply sends the answer. Pipes have no buffer: once it is flushed the client
// has read it.
func (i *issuer) reply(w http.ResponseWriter, answer *httptest.ResponseRecorder, l *link, a *attempt) {
	for name, values := range answer.Header() {
		w.Header()[name] = values
	}
	body := answer.Body.Bytes()
	out := http.NewResponseController(w)
	if l.fate == truncated {
		w.Header().Set("Content-Length", "1000")
		w.WriteHeader(answer.Code)
		_, _ = w.Write(body[:len(body)/2])
		if out.Flush() == nil && i.w.door == lightnapDoor {
			i.w.check.delivered(a) // the cookie stands in the header
		}
		i.cut(a, l.delay)
	}
	w.WriteHeader(answer.Code)
	_, _ = w.Write(body)
	i.w.check.answered(a)
	if out.Flush() == nil {
		i.w.check.delivered(a)
	}
}

// signIn begins a session, past the network: how a person signs in is not what
// is simulated. The client counts from when it called.
func (i *issuer) signIn(called time.Time) (evertoken.Token, error) {
	i.mu.Lock()
	defer i.mu.Unlock()
	path, kind, body := "/oauth/token", "application/x-www-form-urlencoded", "grant_type=password&username="+login+"&password="+password
	if i.w.door == lightnapDoor {
		path, kind = "/api/Identity/login", "application/json"
		data, err := json.Marshal(map[string]any{"login": login, "password": password, "rememberMe": true, "deviceDetails": "sim"})
		if err != nil {
			return evertoken.Token{}, err
		}
		body = string(data)
	}
	r := httptest.NewRequest(http.MethodPost, baseURL+path, strings.NewReader(body))
	r.Header.Set("Content-Type", kind)
	answer := httptest.NewRecorder()
	i.identity.ServeHTTP(answer, r)
	t := evertoken.Token{AccessToken: accessTokenIn(answer), RefreshToken: refreshTokenIn(answer)}
	if t.AccessToken == "" || t.RefreshToken == "" {
		return evertoken.Token{}, errors.New("sim: the issuer let nobody in")
	}
	i.w.check.begun(t, called)
	return t, nil
}

// profile asks the protected API for whoever the request's token speaks for.
func (i *issuer) profile(r *http.Request) *http.Response {
	i.mu.Lock()
	defer i.mu.Unlock()
	answer := httptest.NewRecorder()
	i.identity.ServeHTTP(answer, r)
	return answer.Result()
}

// revokeAll and expireAccess are levers of the issuer.
func (i *issuer) revokeAll() {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.identity.RevokeAll()
	i.w.check.revoked()
}

func (i *issuer) expireAccess() {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.identity.ExpireAccessTokens()
	i.w.check.refusesEarly()
}

func refreshTokenOf(r *http.Request) string {
	if c, err := r.Cookie("refreshToken"); err == nil {
		return c.Value
	}
	if r.ParseForm() == nil {
		return r.PostForm.Get("refresh_token") + r.PostForm.Get("token")
	}
	return ""
}

func refreshTokenIn(answer *httptest.ResponseRecorder) string {
	for _, c := range answer.Result().Cookies() {
		if c.Name == "refreshToken" {
			return c.Value
		}
	}
	var oauth struct {
		Refresh string `json:"refresh_token"`
	}
	_ = json.Unmarshal(answer.Body.Bytes(), &oauth)
	return oauth.Refresh
}

// accessTokenIn finds the JWT in an answer of either door.
func accessTokenIn(answer *httptest.ResponseRecorder) string {
	body := answer.Body.Bytes()
	from := bytes.Index(body, []byte(`"eyJ`))
	if from < 0 {
		return ""
	}
	body = body[from+1:]
	return string(body[:bytes.IndexByte(body, '"')])
}
