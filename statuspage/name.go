package statuspage

import (
	"strconv"
	"strings"
)

const longestName = 80 // bytes of a session's name

// shown is a session's name as it can be read: short, and quoted if there is more
// to it than can be seen, so that no name passes for another.
func shown(name string) string {
	text := strconv.Quote(name)
	if text == `"`+name+`"` && strings.TrimSpace(name) != "" {
		text = name
	}
	return cut(text, longestName)
}
