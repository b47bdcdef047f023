package tap

import (
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/evertoken/evertoken"
	"github.com/evertoken/evertoken/issuer/oauth"
)

// What an issuer sends is recorded, and a token that goes out twice is seen.
func TestRenewals(t *testing.T) {
	answers := []string{`{"access_token":"a"}`, `{"error":"use_dpop_nonce"}`, `{"access_token":"b"}`, `{"error":"invalid_grant"}`}
	for name, start := range map[string]func(http.Handler) *httptest.Server{"http": httptest.NewServer, "https": httptest.NewTLSServer} {
		t.Run(name, func(t *testing.T) {
			n := 0
			srv := start(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				if n%2 == 1 {
					w.WriteHeader(http.StatusBadRequest)
				}
				_, _ = w.Write([]byte(answers[n]))
				n++
			}))
			defer srv.Close()
			tap := Tap{}
			if name == "https" {
				tap.TLS = srv.Client().Transport.(*http.Transport).TLSClientConfig
			}
			issuer := &oauth.Issuer{TokenURL: srv.URL, Transport: tap.Transport()}
			for _, token := range []string{"one", "two", "two", "one"} {
				_, _ = issuer.Refresh(t.Context(), evertoken.Token{RefreshToken: token})
			}
			got := tap.Renewals()
			if len(got) != 4 || got[0].Status != 200 || !got[1].Again || got[2].Status != 200 || got[3].Status != 400 {
				t.Fatalf("%+v", got)
			}
			if got[0].Digest != got[3].Digest || got[0].Digest == got[1].Digest {
				t.Error("digests are not of the tokens")
			}
			if n := tap.NoncesWanted(); n != 1 {
				t.Errorf("nonces wanted: %d, want 1", n)
			}
			if n := SpentTwice(got[:3]); n != 0 {
				t.Errorf("a proof that was asked for again counts: %d", n)
			}
			if n := SpentTwice(got); n != 1 {
				t.Errorf("spent twice: %d, want 1", n)
			}
			if a, ok := tap.Last().Answer(); !ok || a.Status != 400 || string(a.Body) != answers[3] {
				t.Errorf("last answer: %v, %v", a, ok)
			}
		})
	}
}
