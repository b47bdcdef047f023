package statuspage

import (
	"net/http"
	"time"
)

// HandlerAt is Handler at an instant that does not pass.
func HandlerAt(s Source, now time.Time) http.Handler {
	h := Handler(s).(*handler)
	h.now = func() time.Time { return now }
	return h
}
