package dpop

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
)

// show writes challenges in the one way that has no ambiguity.
func show(list []challenge) string {
	var all []string
	for _, c := range list {
		var params []string
		for _, name := range slices.Sorted(maps.Keys(c.params)) {
			value := strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(c.params[name])
			params = append(params, fmt.Sprintf(`%s="%s"`, name, value))
		}
		all = append(all, strings.TrimSpace(c.scheme+" "+strings.Join(params, ", ")))
	}
	return strings.Join(all, ", ")
}

func TestParseChallenges(t *testing.T) {
	for in, want := range map[string]string{
		`DPoP`:                        `DPoP`,
		`DPoP error="use_dpop_nonce"`: `DPoP error="use_dpop_nonce"`,
		`dpop error=use_dpop_nonce`:   `dpop error="use_dpop_nonce"`,
		`DPoP algs="ES256 PS256", error="use_dpop_nonce", error_description="x, y"`:     `DPoP algs="ES256 PS256", error="use_dpop_nonce", error_description="x, y"`,
		`Bearer, DPoP error="use_dpop_nonce"`:                                           `Bearer, DPoP error="use_dpop_nonce"`,
		`Bearer realm="a", DPoP error = "use_dpop_nonce" , scope="b"`:                   `Bearer realm="a", DPoP error="use_dpop_nonce", scope="b"`,
		`Bearer error_description="DPoP error=\"use_dpop_nonce\"", error=invalid_token`: `Bearer error="invalid_token", error_description="DPoP error=\"use_dpop_nonce\""`,
		`Negotiate YWJj==, DPoP error="e"`:                                              `Negotiate, DPoP error="e"`,
		`Negotiate YWJj, NTLM`:                                                          `Negotiate, NTLM`,
		`Basic realm="a" , , charset=UTF-8`:                                             `Basic charset="UTF-8", realm="a"`,
		`DPoP Error=first, error=second`:                                                `DPoP error="first"`,
		`DPoP error="cut`:                                                               `DPoP`,
		`DPoP error=`:                                                                   `DPoP`,
		`error="of nothing", DPoP`:                                                      ``,
		`DPoP error="a" junk/ Bearer`:                                                   `DPoP error="a", junk`,
		`DPoP x="\`:                                                                     `DPoP`,
		``:                                                                              ``,
		`, ,`:                                                                           ``,
	} {
		if got := show(parseChallenges([]string{in})); got != want {
			t.Errorf("%s\n got %s\nwant %s", in, got, want)
		}
	}
	if got := show(parseChallenges([]string{`Bearer realm="a"`, `DPoP error="e"`})); got != `Bearer realm="a", DPoP error="e"` {
		t.Errorf("of two headers: %s", got)
	}
}

// What was read and is written again is read as the same.
func FuzzChallenges(f *testing.F) {
	f.Add(`Bearer realm="a", DPoP error="use_dpop_nonce"`)
	f.Add(`Negotiate YWJj==, Basic realm="\"\\"`)
	f.Add(`DPoP error=use_dpop_nonce, algs="ES256`)
	f.Fuzz(func(t *testing.T, in string) {
		list := parseChallenges([]string{in})
		once := show(list)
		if again := show(parseChallenges([]string{once})); again != once {
			t.Fatalf("%q was read as\n%s and then as\n%s", in, once, again)
		}
		for _, c := range list {
			for name := range c.params {
				if name != strings.ToLower(name) {
					t.Fatalf("parameter %q", name)
				}
			}
		}
	})
}
