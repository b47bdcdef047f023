package probe

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"go/format"
	"maps"
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/evertoken/evertoken"
	"github.com/evertoken/evertoken/issuer/oauth"
)

// document is the body as an object; nil for anything else.
func (s *sample) document() map[string]any {
	in := json.NewDecoder(bytes.NewReader(s.answer.Body))
	in.UseNumber()
	var doc map[string]any
	if in.Decode(&doc) != nil {
		return nil
	}
	return doc
}

// leaves are the members of a document by their paths, as a Dialect writes them.
func leaves(v any, path string, into map[string]any) map[string]any {
	join := func(name string) string { return strings.TrimPrefix(path+"."+name, ".") }
	switch in := v.(type) {
	case map[string]any:
		for name, m := range in {
			leaves(m, join(name), into)
		}
	case []any:
		for n, m := range in {
			leaves(m, join(strconv.Itoa(n)), into)
		}
	default:
		into[path] = v
	}
	return into
}

// find returns the path of the first of the names that a member has, in any case
// and with or without underscores, if its value will do. Of several, the shortest
// path counts.
func find(doc map[string]any, will func(any) bool, names ...string) string {
	all := leaves(doc, "", map[string]any{})
	paths := slices.SortedFunc(maps.Keys(all), func(a, b string) int {
		if n := strings.Count(a, ".") - strings.Count(b, "."); n != 0 {
			return n
		}
		return strings.Compare(a, b)
	})
	for _, name := range names {
		for _, p := range paths {
			last := p[strings.LastIndex(p, ".")+1:]
			if strings.EqualFold(strings.NewReplacer("_", "", "-", "").Replace(last), name) && will(all[p]) {
				return p
			}
		}
	}
	return ""
}

// isText says that a member is a string with something in it.
func isText(v any) bool { s, ok := v.(string); return ok && s != "" }

// isNumber says that a member is a number, and not a string that looks like one.
func isNumber(v any) bool { _, ok := v.(json.Number); return ok }

// isCode tells a word for programs from a sentence for people.
func isCode(v any) bool {
	s, ok := v.(string)
	return ok && regexp.MustCompile(`^[A-Za-z][\w.:-]{1,60}$`).MatchString(s)
}

// codePath is where a document has its word for programs. "error" comes first: it
// is that of RFC 6749.
func codePath(doc map[string]any) string {
	return find(doc, isCode, "error", "errorcode", "code", "type", "name", "key", "reason")
}

// textPath is where a document explains itself to people.
func textPath(doc map[string]any) string {
	return find(doc, isText, "errordescription", "message", "msg", "detail", "description", "title")
}

// valueAt is the string at a path; empty for none.
func valueAt(doc map[string]any, path string) string {
	s, _ := leaves(doc, "", map[string]any{})[path].(string)
	return s
}

// findCode is the word of a document, wherever it stands.
func findCode(doc map[string]any) string { return valueAt(doc, codePath(doc)) }

// findText is the explanation of a document, wherever it stands.
func findText(doc map[string]any) string { return valueAt(doc, textPath(doc)) }

// draftMembers adds to a dialect where a granted answer has its members.
func draftMembers(d oauth.Dialect, s *sample) oauth.Dialect {
	doc := s.document()
	set := func(to *string, standard, path string) {
		if path != "" && path != standard {
			*to = path
		}
	}
	set(&d.AccessToken, "access_token", find(doc, isText, "accesstoken", "token", "jwt", "access"))
	set(&d.RefreshToken, "refresh_token", find(doc, isText, "refreshtoken", "refresh"))
	set(&d.ExpiresIn, "expires_in", find(doc, isNumber, "expiresin", "expires", "ttl"))
	set(&d.ExpiresAt, "expires_at", find(doc, isNumber, "expiresat", "expiry", "expiration"))
	d.Unit = unitOf(d, s)
	return d
}

// unitOf tells milliseconds from seconds, if the access token is a JWT that does.
func unitOf(d oauth.Dialect, s *sample) time.Duration {
	t, err := s.replay(d)
	c, ok := readJWT(t.AccessToken)
	if err != nil || !ok || c.Iat == 0 || t.Expiry.IsZero() {
		return 0
	}
	if ratio := t.Expiry.Sub(t.IssuedAt).Seconds() / (c.Exp - c.Iat); math.Abs(ratio-1000) < 100 {
		return time.Millisecond
	}
	return 0
}

// suggest writes a dialect for a server that no preset fits, and says how well it
// does.
func (p *prober) suggest() {
	d := p.manner.dialect()
	for _, s := range p.grants {
		d = draftMembers(d, s)
	}
	d = p.draftErrors(d)
	d.ReuseGrace = 0
	if p.Reuse && p.accepted > 0 && p.accepted < p.Wait {
		d.ReuseGrace = p.accepted
	}
	p.report.add("preset", "none fits; a Dialect that does is below")
	if left := p.faults(d); len(left) > 0 {
		p.report.lines[len(p.report.lines)-1].text = "none fits; the Dialect below comes closest"
		for _, f := range left {
			p.report.add("not solved", "%s", f)
		}
	}
	p.report.code = goCode(d)
}

// draftErrors adds where an error answer has its words, and what they mean.
func (p *prober) draftErrors(d oauth.Dialect) oauth.Dialect {
	doc := p.samples[0].document()
	if path := codePath(doc); path != "" && path != "error" {
		d.ErrorCode = []string{path}
	}
	if path := textPath(doc); path != "" && path != "error_description" {
		d.ErrorText = []string{path}
	}
	for _, s := range p.samples {
		if s.means == granted || s.misread(d) == "" {
			continue
		}
		if v, ok := p.verdict(d, s); ok {
			d.Verdicts = append(d.Verdicts, v)
		}
	}
	return d
}

// verdict is the widest one for an answer that says nothing of the others: by
// status and code, else by the text too.
func (p *prober) verdict(d oauth.Dialect, s *sample) (oauth.Verdict, bool) {
	_, err := s.replay(d)
	var failed *evertoken.RefreshError
	if !errors.As(err, &failed) || s.isPage() {
		return oauth.Verdict{}, false
	}
	v := oauth.Verdict{Status: s.answer.Status, Code: failed.Code, Outcome: evertoken.Rejected}
	if s.means == faulty {
		v.Outcome = evertoken.Misconfigured
	}
	switch {
	case len(bytes.TrimSpace(s.answer.Body)) == 0:
		v.Empty = true
	case v.Code == "":
		v.Text = constantPart(p.report.clean(failed.Description))
	}
	if p.tooWide(d, v, s) {
		v.Text = constantPart(p.report.clean(failed.Description))
	}
	distinct := v.Empty || v.Code != "" || v.Text != ""
	return v, distinct && !p.tooWide(d, v, s)
}

// constantPart is the longest part of a text that does not depend on the token.
func constantPart(text string) string {
	longest := ""
	for part := range strings.SplitSeq(text, hidden) {
		if part = strings.TrimSpace(part); len(part) > len(longest) {
			longest = part
		}
	}
	return longest
}

// tooWide says that a verdict is also one on an answer that means something else.
func (p *prober) tooWide(d oauth.Dialect, v oauth.Verdict, s *sample) bool {
	d.Verdicts = []oauth.Verdict{v}
	for _, o := range p.samples {
		if o.means == s.means {
			continue
		}
		var failed *evertoken.RefreshError
		if _, err := o.replay(d); errors.As(err, &failed) && failed.Outcome == v.Outcome {
			return true
		}
	}
	return false
}

// isPage says that the answer is for people. A proxy may say the same.
func (s *sample) isPage() bool {
	return strings.Contains(s.answer.Header.Get("Content-Type"), "html")
}

// goCode writes a dialect as a program would.
func goCode(d oauth.Dialect) string {
	var b strings.Builder
	b.WriteString("var dialect = oauth.Dialect{\nName: \"yours\",\n")
	flag := func(name string, on bool) {
		if on {
			fmt.Fprintf(&b, "%s: true,\n", name)
		}
	}
	word := func(name, value string) {
		if value != "" {
			fmt.Fprintf(&b, "%s: %q,\n", name, value)
		}
	}
	list := func(name string, values []string) {
		if len(values) > 0 {
			fmt.Fprintf(&b, "%s: %#v,\n", name, values)
		}
	}
	flag("JSON", d.JSON)
	flag("GrantInURL", d.GrantInURL)
	flag("RenewByBearer", d.RenewByBearer)
	word("AccessToken", d.AccessToken)
	word("RefreshToken", d.RefreshToken)
	word("ExpiresIn", d.ExpiresIn)
	word("ExpiresAt", d.ExpiresAt)
	if d.Unit == time.Millisecond {
		b.WriteString("Unit: time.Millisecond,\n")
	}
	list("ErrorCode", d.ErrorCode)
	list("ErrorText", d.ErrorText)
	writeVerdicts(&b, d.Verdicts)
	if d.ReuseGrace > 0 {
		fmt.Fprintf(&b, "ReuseGrace: %d * time.Second, // observed; ask the server's operator\n", d.ReuseGrace/time.Second)
	}
	b.WriteString("}\n")
	code, err := format.Source([]byte(b.String()))
	if err != nil {
		return b.String()
	}
	return string(code)
}

// writeVerdicts writes one verdict a line.
func writeVerdicts(b *strings.Builder, all []oauth.Verdict) {
	if len(all) == 0 {
		return
	}
	b.WriteString("Verdicts: []oauth.Verdict{\n")
	for _, v := range all {
		fmt.Fprintf(b, "{Status: %d", v.Status)
		if v.Code != "" {
			fmt.Fprintf(b, ", Code: %q", v.Code)
		}
		if v.Text != "" {
			fmt.Fprintf(b, ", Text: %q", v.Text)
		}
		if v.Empty {
			b.WriteString(", Empty: true")
		}
		outcome := "evertoken.Rejected"
		if v.Outcome == evertoken.Misconfigured {
			outcome = "evertoken.Misconfigured"
		}
		fmt.Fprintf(b, ", Outcome: %s},\n", outcome)
	}
	b.WriteString("},\n")
}
