package natsstore

import (
	"regexp"
	"strings"
	"testing"
)

// Every key has a name of its own that a bucket takes.
func FuzzName(f *testing.F) {
	for _, key := range []string{"default", "", ".", "a.b", "a=2eb", "\x00", "ключ", strings.Repeat("k", 500)} {
		f.Add(key, key+"x")
	}
	valid := regexp.MustCompile(`^record(\.[-=_a-zA-Z0-9]+)?\.[-=_a-zA-Z0-9]*$`)
	f.Fuzz(func(t *testing.T, one, other string) {
		if n := name(one, recordKind); !valid.MatchString(n) || len(n) > 300 {
			t.Errorf("name(%q) = %q", one, n)
		}
		if one != other && name(one, recordKind) == name(other, recordKind) {
			t.Errorf("%q and %q have one name", one, other)
		}
	})
}

// Whatever a server answers, it is an entry or an error.
func FuzzParse(f *testing.F) {
	f.Add([]byte(`{"message":{"subject":"s","seq":7,"hdrs":"TkFUUy8xLjANCktWLU9wZXJhdGlvbjogREVMDQoNCg==","data":"eA=="}}`))
	f.Add([]byte(`{"error":{"code":404,"err_code":10037,"description":"no message found"}}`))
	f.Add([]byte(`{}`))
	f.Fuzz(func(t *testing.T, reply []byte) {
		if e, err := parse(reply); err != nil && e.live {
			t.Errorf("parse = %+v, %v", e, err)
		}
	})
}

func TestParse(t *testing.T) {
	for reply, want := range map[string]entry{
		`{"message":{"seq":7,"data":"eA=="}}`:                                         {data: []byte("x"), revision: 7, live: true},
		`{"message":{"seq":7,"hdrs":"TkFUUy8xLjANCktWLU9wZXJhdGlvbjogREVMDQoNCg=="}}`: {revision: 7},
		`{"error":{"code":404,"err_code":10037}}`:                                     {},
	} {
		e, err := parse([]byte(reply))
		if err != nil || string(e.data) != string(want.data) || e.revision != want.revision || e.live != want.live {
			t.Errorf("parse(%s) = %+v, %v", reply, e, err)
		}
	}
	for _, reply := range []string{``, `{}`, `{"message":null}`, `{"error":{"code":503,"err_code":10008}}`, `{"message":{"seq":7,"hdrs":"eA=="}}`} {
		if e, err := parse([]byte(reply)); err == nil {
			t.Errorf("parse(%s) = %+v, want an error", reply, e)
		}
	}
}
