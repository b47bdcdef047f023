package statuspage

import (
	"mime"
	"strconv"
	"strings"
)

// prefersJSON says that an Accept header names JSON, and HTML no more than it (RFC
// 9110, section 12.5.1). Whoever takes anything gets the page.
func prefersJSON(accept []string) bool {
	q := map[string]float64{}
	for _, field := range strings.Split(strings.Join(accept, ","), ",") {
		kind, parameters, err := mime.ParseMediaType(field)
		if err != nil {
			continue
		}
		q[kind] = quality(parameters["q"])
	}
	return q["application/json"] > 0 && q["application/json"] >= q["text/html"]
}

func quality(s string) float64 {
	q, err := strconv.ParseFloat(s, 64)
	if err != nil {
		return 1
	}
	return q
}
