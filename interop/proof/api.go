package main

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// An api is a resource server of ours that asks the authorization server about
// each access token (RFC 7662) and refuses as RFC 6750, section 3, says.
type api struct {
	introspect string // URL
	clientID   string // who asks
	secret     string
	http       *http.Client
}

// serveAPI runs an api until stop is called.
func serveAPI(a *api) (address string, stop func() error, err error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", nil, err
	}
	a.http = &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: loaders}}
	srv := &http.Server{Handler: a, ReadHeaderTimeout: 10 * time.Second}
	served := make(chan error, 1)
	go func() { served <- srv.Serve(l) }()
	stop = func() error {
		err := srv.Close()
		if end := <-served; !errors.Is(end, http.ErrServerClosed) {
			err = errors.Join(err, end)
		}
		a.http.CloseIdleConnections()
		return err
	}
	return "http://" + l.Addr().String() + "/", stop, nil
}

// ServeHTTP answers 503, and not 401, while nobody can tell: a client must not
// renew for that.
func (a *api) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	token, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	active, err := a.active(r.Context(), token)
	switch {
	case err != nil:
		http.Error(w, "the authorization server does not answer", http.StatusServiceUnavailable)
	case !ok || !active:
		w.Header().Set("WWW-Authenticate", `Bearer error="invalid_token"`)
		http.Error(w, "no", http.StatusUnauthorized)
	default:
		_, _ = io.WriteString(w, "yes\n")
	}
}

// active asks the authorization server about one token.
func (a *api) active(ctx context.Context, token string) (bool, error) {
	body := strings.NewReader(url.Values{"token": {token}}.Encode())
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, a.introspect, body)
	if err != nil {
		return false, err
	}
	req.SetBasicAuth(a.clientID, a.secret)
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	resp, err := a.http.Do(req)
	if err != nil {
		return false, err
	}
	defer resp.Body.Close()
	var said struct {
		Active bool `json:"active"`
	}
	err = json.NewDecoder(resp.Body).Decode(&said)
	return said.Active, err
}
