package record

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/evertoken/evertoken/storage"
)

var epoch = time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)

func made(lifetime time.Duration) Record {
	return First(Tokens{AccessToken: "a", RefreshToken: "b", IssuedAt: epoch, Expiry: epoch.Add(lifetime)}, "sign-in")
}

func TestOrder(t *testing.T) {
	first := made(time.Hour)
	noted := first.Announced("me", "due", epoch)
	closed := noted.Closed()
	second := noted.Next(first.Tokens, "due")
	older := first
	for _, r := range []Record{noted, closed, closed.Ended(), second, second.Announced("me", "due", epoch)} {
		if r.SID != first.SID || !r.Newer(older) || older.Newer(r) {
			t.Errorf("gen %d att %d does not follow gen %d att %d", r.Gen, r.Att, older.Gen, older.Att)
		}
		older = r
	}
}

// How often a refresh token was sent is never forgotten while it is the newest,
// and means nothing for the next one.
func TestNoteCounts(t *testing.T) {
	r := made(time.Hour).Announced("me", "due", epoch).Closed().Announced("other", "401", epoch)
	if r.Note.N != 2 || !r.Note.Open() || r.Note.Digest == "" {
		t.Errorf("note %+v", r.Note)
	}
	if over := r.Ended(); over.Note.N != 2 || over.Note.Open() || !over.Over || over.Tokens.RefreshToken != "b" {
		t.Errorf("ended as %+v", over.Note)
	}
	if next := r.Next(r.Tokens, "due"); next.Note != (Note{}) || next.Over {
		t.Errorf("note of the next generation: %+v", next.Note)
	}
}

func TestClamped(t *testing.T) {
	r := made(time.Hour)
	for _, tt := range []struct {
		name      string
		last, now time.Time
		want      time.Time
	}{
		{"clocks agree", epoch.Add(-time.Minute), epoch, epoch.Add(time.Hour)},
		{"the writer's clock is ahead", time.Time{}, epoch.Add(-time.Hour), epoch},
		{"the writer's clock is behind", epoch.Add(5 * time.Minute), epoch.Add(6 * time.Minute), epoch.Add(65 * time.Minute)},
		{"no look before", time.Time{}, epoch.Add(30 * time.Minute), epoch.Add(time.Hour)},
	} {
		if got := r.Clamped(tt.last, tt.now).Tokens; !got.Expiry.Equal(tt.want) || got.Expiry.Sub(got.IssuedAt) != time.Hour {
			t.Errorf("%s: %v to %v, want the end %v", tt.name, got.IssuedAt, got.Expiry, tt.want)
		}
	}
	if opaque := First(Tokens{AccessToken: "a"}, "sign-in"); !opaque.Clamped(epoch, epoch).Tokens.Expiry.IsZero() {
		t.Error("a token of unknown expiry was given one")
	}
}

func TestDecode(t *testing.T) {
	for data, want := range map[string]string{
		`{"evertoken":1,"sid":"x`:             "not JSON from byte 23 of 23",
		`{"evertoken":1,"sid":"","gen":1}`:    "no session record",
		`{"evertoken":1,"sid":"s3cret"}`:      "no session record",
		`[]`:                                  "no session record",
		`{"evertoken":"s3cret"}`:              "no session record",
		`{"evertoken":2,"sid":"s","gen":"x"}`: "has format 2, written by a newer release; this one reads up to 1",
	} {
		_, err := Decode("key", []byte(data))
		if err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), `"key"`) || strings.Contains(err.Error(), "s3cret") {
			t.Errorf("%s: %v, want %q", data, err, want)
		}
		if newer := strings.Contains(want, "newer"); errors.Is(err, storage.ErrCorrupt) == newer {
			t.Errorf("%s: ErrCorrupt = %t", data, !newer)
		}
	}
}

func FuzzDecode(f *testing.F) {
	good, err := made(time.Hour).Encode()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good)
	f.Add([]byte(`{"evertoken":2}`))
	f.Add(good[:len(good)/2])
	f.Fuzz(func(t *testing.T, data []byte) {
		r, err := Decode("key", data)
		if err != nil {
			return
		}
		again, err := r.Encode()
		if err != nil {
			t.Fatalf("a record that was read cannot be written: %v", err)
		}
		if _, err := Decode("key", again); err != nil {
			t.Fatalf("a record that was written cannot be read: %v", err)
		}
	})
}
