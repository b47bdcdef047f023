package dpop

import "strings"

// A challenge is what a server asks for in WWW-Authenticate. Its parameters are
// by name, in lower case; a token68 is left out.
type challenge struct {
	scheme string
	params map[string]string
}

// parseChallenges reads the values of WWW-Authenticate (RFC 9110, section
// 11.6.1). The comma separates both challenges and their parameters, so each
// word is a parameter if an equals sign follows, and else begins a challenge. Of
// a value that is not well formed what stands before the fault counts.
func parseChallenges(values []string) []challenge {
	var all []challenge
	for _, v := range values {
		all = append(all, parseValue(v)...)
	}
	return all
}

func parseValue(v string) []challenge {
	var list []challenge
	s := scanner(v)
	for {
		s.skip(" \t,")
		name := s.word()
		if name == "" {
			return list
		}
		s.skip(" \t")
		if !s.accept('=') {
			s.token68()
			list = append(list, challenge{scheme: name})
			continue
		}
		s.skip(" \t")
		value, ok := s.value()
		if !ok || len(list) == 0 {
			return list
		}
		list[len(list)-1].set(strings.ToLower(name), value)
	}
}

// set keeps the first of two: a parameter must not occur twice.
func (c *challenge) set(name, value string) {
	if c.params == nil {
		c.params = map[string]string{}
	}
	if _, twice := c.params[name]; !twice {
		c.params[name] = value
	}
}

// A scanner is what is left to read.
type scanner string

func (s *scanner) skip(chars string) { *s = scanner(strings.TrimLeft(string(*s), chars)) }

func (s *scanner) accept(c byte) bool {
	if *s == "" || (*s)[0] != c {
		return false
	}
	*s = (*s)[1:]
	return true
}

// take reads as far as every byte is one of a set.
func (s *scanner) take(in func(byte) bool) string {
	n := 0
	for n < len(*s) && in((*s)[n]) {
		n++
	}
	taken := string((*s)[:n])
	*s = (*s)[n:]
	return taken
}

// word reads a token (RFC 9110, section 5.6.2).
func (s *scanner) word() string { return s.take(isTokenChar) }

// token68 steps over the one form of a challenge that has no parameters, if it
// is there: it ends in equals signs, where a parameter would go on.
func (s *scanner) token68() {
	after := *s
	after.take(func(c byte) bool { return isAlphanumeric(c) || strings.IndexByte("-._~+/", c) >= 0 })
	after.skip("=")
	after.skip(" \t")
	if after == "" || after[0] == ',' {
		*s = after
	}
}

// value reads a token or a quoted string (RFC 9110, section 5.6.4).
func (s *scanner) value() (string, bool) {
	if !s.accept('"') {
		v := s.word()
		return v, v != ""
	}
	var b strings.Builder
	for i := 0; i < len(*s); i++ {
		switch c := (*s)[i]; {
		case c == '"':
			*s = (*s)[i+1:]
			return b.String(), true
		case c == '\\' && i+1 < len(*s):
			i++
			b.WriteByte((*s)[i])
		default:
			b.WriteByte(c)
		}
	}
	return "", false
}

func isTokenChar(c byte) bool {
	return isAlphanumeric(c) || strings.IndexByte("!#$%&'*+-.^_`|~", c) >= 0
}

func isAlphanumeric(c byte) bool {
	return '0' <= c && c <= '9' || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z'
}
