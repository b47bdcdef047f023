package dpop

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
)

func mustURL(t testing.TB, s string) *url.URL {
	t.Helper()
	u, err := url.Parse(s)
	if err != nil {
		t.Fatal(err)
	}
	return u
}

func TestNonces(t *testing.T) {
	var n Nonces
	api, login := mustURL(t, "https://api.example.com/a"), mustURL(t, "https://login.example.com/token")
	if got := n.For(api); got != "" {
		t.Errorf("For = %q before there is any", got)
	}
	n.Note(api, http.Header{"Dpop-Nonce": {"one"}})
	n.Note(login, http.Header{"Dpop-Nonce": {"two"}})
	if got := n.Note(api, http.Header{}); got != "" {
		t.Errorf("Note of an answer without a nonce = %q", got)
	}
	if n.For(mustURL(t, "https://API.example.com/b")) != "one" || n.For(login) != "two" || n.For(mustURL(t, "https://api.example.com:8443/")) != "" {
		t.Errorf("the nonces are %v", n.newest)
	}
	for _, bad := range [][]string{{""}, {"a b"}, {"a\""}, {"a\\"}, {"\x7f"}, {"é"}, {strings.Repeat("n", maxNonce+1)}, {"a", "b"}} {
		if got := n.Note(api, http.Header{"Dpop-Nonce": bad}); got != "" || n.For(api) != "one" {
			t.Errorf("%q was taken for a nonce", bad)
		}
	}
}

// However many servers there are, memory is bounded, and the newest is known.
func TestNoncesAreBounded(t *testing.T) {
	var n Nonces
	for i := range 3 * maxOrigins {
		u := mustURL(t, fmt.Sprintf("https://api-%d.example.com", i))
		n.Note(u, http.Header{"Dpop-Nonce": {"nonce"}})
		if n.For(u) != "nonce" {
			t.Fatalf("the nonce of server %d is forgotten at once", i)
		}
	}
	if len(n.newest) != maxOrigins {
		t.Errorf("%d nonces are kept, want %d", len(n.newest), maxOrigins)
	}
}

func TestNoncesFromManyAnswers(t *testing.T) {
	var n Nonces
	var all sync.WaitGroup
	for i := range 8 {
		all.Go(func() {
			for j := range 500 {
				u := mustURL(t, fmt.Sprintf("https://api-%d.example.com", j%300))
				n.Note(u, http.Header{"Dpop-Nonce": {fmt.Sprint("nonce-", i)}})
				if got := n.For(u); got != "" && !strings.HasPrefix(got, "nonce-") {
					t.Errorf("For = %q", got)
				}
			}
		})
	}
	all.Wait()
	if len(n.newest) > maxOrigins {
		t.Errorf("%d nonces are kept", len(n.newest))
	}
}

func TestKeyringIsBounded(t *testing.T) {
	var r Keyring
	k := mustKey(t)
	for i := range 10 * maxKeys {
		r.Put(fmt.Sprint(i), k)
		r.Put(fmt.Sprint(i), k)
		if r.Get(fmt.Sprint(i)) != k || i > 0 && r.Get(fmt.Sprint(i-1)) != k {
			t.Fatalf("token %d is forgotten at once", i)
		}
	}
	r.Put("", k)
	r.Put("nil", nil)
	if len(r.keys) != maxKeys || r.Get("") != nil || r.Get("nil") != nil {
		t.Errorf("%d tokens are remembered, want %d", len(r.keys), maxKeys)
	}
}

// Whatever a server sends for a nonce can stand in the next proof, or is no nonce.
func FuzzNonce(f *testing.F) {
	f.Add("nonce", "https://api.example.com")
	f.Add("a\r\nb", "HTTPS://API.example.com:443")
	k := mustKey(f)
	f.Fuzz(func(t *testing.T, value, raw string) {
		u, err := url.Parse(raw)
		if err != nil {
			return
		}
		var n Nonces
		got := n.Note(u, http.Header{"Dpop-Nonce": {value}})
		if got != n.For(u) || got != "" && got != value {
			t.Fatalf("Note = %q, For = %q", got, n.For(u))
		}
		for i := range len(got) {
			if c := got[i]; c <= ' ' || c >= 0x7f {
				t.Fatalf("%q would be sent", got)
			}
		}
		proof, err := k.Sign(Proof{URI: raw, Nonce: got})
		if err != nil {
			t.Fatal(err)
		}
		for i := range len(proof) {
			if c := proof[i]; c <= ' ' || c >= 0x7f {
				t.Fatal("the proof cannot stand in a header")
			}
		}
	})
}
