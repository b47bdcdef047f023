package ecosystem_test

import (
	"context"
	"encoding/json"
	"fmt"
	"log"
	"net/http"
	"sync"

	"github.com/evertoken/evertoken/examples/ecosystem/orders"
)

// A client that oapi-codegen generated sends its requests through ours. The order
// that is refused goes out a second time with a new token, body and all.
func Example_openAPI() {
	srv := newServer(newOrderBook())
	defer srv.Close()
	client := newClient(srv.config())
	defer client.Close()

	api, err := orders.NewClientWithResponses(srv.URL, orders.WithHTTPClient(client.HTTP()))
	if err != nil {
		log.Fatal(err)
	}
	ctx := context.Background()
	for _, item := range []string{"tea", "milk"} {
		made, err := api.CreateOrderWithResponse(ctx, orders.Order{Item: item, Count: 2})
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(item, made.Status())
		if item == "tea" {
			srv.endAccess()
		}
	}
	list, err := api.ListOrdersWithResponse(ctx)
	if err != nil {
		log.Fatal(err)
	}
	if list.JSON200 == nil {
		log.Fatal(list.Status())
	}
	fmt.Println(*list.JSON200)
	// Output:
	// tea 201 Created
	// milk 201 Created
	// [{2 tea} {2 milk}]
}

// newOrderBook is the API that openapi.yaml describes.
func newOrderBook() http.Handler {
	var mu sync.Mutex
	var book []orders.Order
	mux := http.NewServeMux()
	mux.HandleFunc("POST /orders", func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		var o orders.Order
		if json.NewDecoder(r.Body).Decode(&o) != nil {
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		book = append(book, o)
		w.WriteHeader(http.StatusCreated)
	})
	mux.HandleFunc("GET /orders", func(w http.ResponseWriter, _ *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(book)
	})
	return mux
}
