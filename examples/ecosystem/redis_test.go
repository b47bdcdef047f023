package ecosystem_test

import (
	"context"
	"fmt"
	"log"
	"log/slog"
	"net/http"

	"github.com/alicebob/miniredis/v2"
	"github.com/redis/go-redis/v9"

	"github.com/evertoken/evertoken"
	"github.com/evertoken/evertoken/storage/redisstore"
)

// Two hosts share one session on Redis. What one of them renews serves the other:
// its token is refused by now, so it looks for a newer one before it asks for it.
func Example_redis() {
	srv := newServer(http.NotFoundHandler())
	defer srv.Close()
	server, err := miniredis.Run() // a real one, at home
	if err != nil {
		log.Fatal(err)
	}
	defer server.Close()

	ctx := context.Background()
	host := func() *evertoken.Client {
		connection := redis.NewClient(&redis.Options{Addr: server.Addr()})
		store, err := redisstore.New(ctx, connection, redisstore.Options{Logger: slog.New(slog.DiscardHandler)}) // keep the default: it warns of risky settings
		if err != nil {
			log.Fatal(err)
		}
		cfg := srv.config()
		cfg.Store = store
		return newClient(cfg)
	}
	one, two := host(), host()
	defer one.Close()
	defer two.Close()

	get(one.HTTP(), srv.URL) // signs in
	get(two.HTTP(), srv.URL) // finds the session
	if err := one.Refresh(ctx); err != nil {
		log.Fatal(err)
	}
	resp, err := two.HTTP().Get(srv.URL)
	if err != nil {
		log.Fatal(err)
	}
	defer resp.Body.Close()
	issued, reused := srv.counts()
	fmt.Println(resp.StatusCode, "with", issued, "tokens issued and", reused, "refresh tokens used twice")
	// Output: 404 with 2 tokens issued and 0 refresh tokens used twice
}
