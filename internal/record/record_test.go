package record

import (
	"errors"
	"reflect"
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
	if next := r.Ended().Next(r.Tokens, "due"); next.Note != (Note{}) || next.Over {
		t.Errorf("note of the next generation: %+v, over %t", next.Note, next.Over)
	}
}

// What a note tells: who, when, why, and which token, but not the token.
func TestNoteTells(t *testing.T) {
	r := made(time.Hour)
	r.Tokens.RefreshToken = "s3cret"
	note := r.Announced("me", "due", epoch).Note
	if note.Owner != "me" || note.Cause != "due" || !note.Began.Equal(epoch) || len(note.Digest) != 16 {
		t.Errorf("%+v", note)
	}
	other := r
	other.Tokens.RefreshToken = "another"
	if other.Announced("me", "due", epoch).Note.Digest == note.Digest || strings.Contains(note.Digest, "s3cret") {
		t.Errorf("digest %s", note.Digest)
	}
}

// Each sign-in is told from every other; each generation says what it is.
func TestGenerations(t *testing.T) {
	r := made(time.Hour)
	if again := made(time.Hour); r.SID == "" || r.SID == again.SID || r.Gen != 1 || r.Format != Format || r.Cause != "sign-in" || r.Lifetime != time.Hour {
		t.Errorf("%+v", r)
	}
	t2 := Tokens{AccessToken: "c", RefreshToken: "d", IssuedAt: epoch, Expiry: epoch.Add(time.Minute)}
	if n := r.Next(t2, "401"); n.SID != r.SID || n.Gen != 2 || n.Lifetime != time.Minute || n.Cause != "401" || n.Tokens.AccessToken != "c" {
		t.Errorf("%+v", n)
	}
	for name, tokens := range map[string]Tokens{
		"unknown": {IssuedAt: epoch}, "ended before it was issued": {IssuedAt: epoch, Expiry: epoch.Add(-time.Minute)},
	} {
		if n := r.Next(tokens, "due"); n.Lifetime != 0 {
			t.Errorf("%s: lifetime %v", name, n.Lifetime)
		}
	}
}

// What was written is read.
func TestEncode(t *testing.T) {
	r := made(time.Hour).Announced("me", "due", epoch)
	r.Tokens.Extra = map[string]string{"k": "v"}
	data, err := r.Encode()
	if err != nil {
		t.Fatal(err)
	}
	if got, err := Decode("key", data); err != nil || !reflect.DeepEqual(got, r) {
		t.Errorf("read %+v, %v; wrote %+v", got, err, r)
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
		{"our clock was ahead at the last look", epoch.Add(10 * time.Hour), epoch, epoch.Add(time.Hour)},
		{"no look before", time.Time{}, epoch.Add(30 * time.Minute), epoch.Add(time.Hour)},
	} {
		if got := r.Clamped(tt.last, tt.now).Tokens; !got.Expiry.Equal(tt.want) || got.Expiry.Sub(got.IssuedAt) != time.Hour {
			t.Errorf("%s: %v to %v, want the end %v", tt.name, got.IssuedAt, got.Expiry, tt.want)
		}
	}
	opaque := First(Tokens{AccessToken: "a"}, "sign-in")
	for _, opaque.Lifetime = range []time.Duration{0, time.Hour} {
		if !opaque.Clamped(epoch, epoch).Tokens.Expiry.IsZero() {
			t.Errorf("lifetime %v: a token of unknown expiry was given one", opaque.Lifetime)
		}
	}
	ended := made(-time.Minute)
	if got := ended.Clamped(epoch, epoch.Add(-time.Hour)).Tokens; got.Expiry != ended.Tokens.Expiry {
		t.Errorf("a token that had ended when it was issued ends at %v", got.Expiry)
	}
}

func TestDecode(t *testing.T) {
	for data, want := range map[string]string{
		`{"evertoken":1,"sid":"x`:          "not JSON from byte 23 of 23",
		`{"evertoken":1,"sid":"","gen":1}`: "no session record",
		`{"evertoken":1,"sid":"s3cret"}`:   "no session record",
		`[]`:                               "no session record",
		`{"evertoken":"s3cret"}`:           "no session record",
		`{"sid":"s3cret","gen":1}`:         "no session record",
		`{"evertoken":1,"sid":"s3cret","gen":1,"att":"s3cret"}`: "no session record",
		`{"evertoken":2,"sid":"s","gen":"x"}`:                   "has format 2, written by a newer release; this one reads up to 1",
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
