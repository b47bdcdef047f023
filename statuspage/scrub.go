package statuspage

import (
	"regexp"
	"strings"
	"unicode/utf8"
)

const (
	hidden  = "[hidden]"
	longest = 400 // bytes of an error
)

// A scrubber takes out of an error what may be a secret. evertoken's own errors
// have none; but a custom Issuer, Store or Login may say anything, and a page is
// read by more people than a log.
type scrubber struct{ named, long, jwt, scheme, user *regexp.Regexp }

func newScrubber() scrubber {
	const names = `(?:token|secret|password|passwd|pwd|assertion|cookie|session|key|code|jwt|sig|signature)`
	return scrubber{
		scheme: regexp.MustCompile(`(?i)\b(bearer|basic|dpop)\s+[^\s"',;]+`),
		user:   regexp.MustCompile(`//[^/\s"@]+@`),
		named:  regexp.MustCompile(`(?i)\b([a-z_-]*` + names + `"?\s*[=:]\s*"?)([^\s"'&,;)]{4,})`),
		jwt:    regexp.MustCompile(`\beyJ[\w-]*\.[\w.-]*`),
		long:   regexp.MustCompile(`[\w+=~-]{20,}`),
	}
}

// text returns what may be shown of an error.
func (s scrubber) text(err error) string {
	if err == nil {
		return ""
	}
	text := strings.ReplaceAll(strings.ToValidUTF8(err.Error(), "\uFFFD"), "evertoken: ", "")
	text = s.scheme.ReplaceAllString(text, "$1 "+hidden)
	text = s.user.ReplaceAllString(text, "//"+hidden+"@")
	text = s.named.ReplaceAllStringFunc(text, s.value)
	text = s.jwt.ReplaceAllString(text, hidden)
	text = s.long.ReplaceAllStringFunc(text, random)
	return cut(text, longest)
}

// value hides what follows a telling name, unless it is a word of a sentence, as
// after "invalid token: ".
func (s scrubber) value(found string) string {
	part := s.named.FindStringSubmatch(found)
	if strings.HasSuffix(part[1], ": ") && strings.Trim(part[2], "abcdefghijklmnopqrstuvwxyz:.") == "" {
		return found
	}
	return part[1] + hidden
}

// random hides a long word that has digits among its letters: random strings have
// some, names hardly ever.
func random(word string) string {
	if strings.ContainsAny(word, "0123456789") {
		return hidden
	}
	return word
}

// cut leaves whole characters.
func cut(text string, most int) string {
	if len(text) <= most {
		return text
	}
	end := most
	for !utf8.RuneStart(text[end]) {
		end--
	}
	return text[:end] + " ..."
}
