package evertoken_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/hashicorp/go-retryablehttp"

	"github.com/evertoken/evertoken"
)

// go-retryablehttp goes around the client, so that each try carries the token
// that is valid by then.
func Example_retryableHTTP() {
	var seen atomic.Int32
	srv := exampleServer(func(w http.ResponseWriter, r *http.Request) {
		if seen.Add(1) < 3 {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
	})
	defer srv.Close()
	client := exampleClient(srv.URL)
	defer client.Close()

	retry := retryablehttp.NewClient()
	retry.HTTPClient = client.HTTP()
	retry.Logger = nil // it prints URLs, and their queries
	retry.RetryWaitMin, retry.RetryWaitMax = time.Millisecond, time.Millisecond
	tries := 0
	retry.RequestLogHook = func(retryablehttp.Logger, *http.Request, int) { tries++ }
	retry.CheckRetry = func(ctx context.Context, resp *http.Response, err error) (bool, error) {
		if errors.Is(err, evertoken.ErrSignedOut) {
			return false, err // another try will not sign anybody in
		}
		return retryablehttp.DefaultRetryPolicy(ctx, resp, err)
	}
	resp, err := retry.Get(srv.URL + "/orders")
	if err != nil {
		log.Fatal(err)
	}
	defer resp.Body.Close()
	fmt.Println(resp.Status, "after", tries, "tries")

	if err := client.SignOut(context.Background()); err != nil {
		log.Fatal(err)
	}
	_, err = retry.Get(srv.URL + "/orders")
	fmt.Println(errors.Is(err, evertoken.ErrSignedOut), tries, "tries")
	// Output:
	// 200 OK after 3 tries
	// true 4 tries
}
