package statuspage_test

import (
	"context"
	"log"
	"net/http"
	"time"

	"github.com/evertoken/evertoken"
	"github.com/evertoken/evertoken/issuer/lightnap"
	"github.com/evertoken/evertoken/statuspage"
)

// The page of a client, on a port of its own that only this machine can reach.
func ExampleHandler() {
	client, err := evertoken.New(context.Background(), evertoken.Config{
		Issuer: &lightnap.Issuer{BaseURL: "https://api.example.com"},
	})
	if err != nil {
		log.Fatal(err)
	}
	server := &http.Server{Addr: "127.0.0.1:8081", Handler: statuspage.Handler(client), ReadHeaderTimeout: 5 * time.Second}
	log.Fatal(server.ListenAndServe())
}

// The page of a pool: all its sessions at a glance, and each on a page of its own.
func ExampleHandler_pool() {
	pool, err := evertoken.NewPool(evertoken.PoolConfig{Config: evertoken.Config{
		Issuer: &lightnap.Issuer{BaseURL: "https://api.example.com"},
	}})
	if err != nil {
		log.Fatal(err)
	}
	server := &http.Server{Addr: "127.0.0.1:8081", Handler: statuspage.Handler(pool), ReadHeaderTimeout: 5 * time.Second}
	log.Fatal(server.ListenAndServe())
}
