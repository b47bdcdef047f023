package evertoken_test

import (
	"fmt"
	"log"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
)

// A reverse proxy that adds the token. Whoever reaches it acts as this program
// does, so let it listen where only those are who may: here on loopback.
func Example_reverseProxy() {
	srv := exampleServer(func(w http.ResponseWriter, r *http.Request) {
		fmt.Println("the API sees", r.URL.Path, r.Header["Authorization"], r.Header["Cookie"])
	})
	defer srv.Close()
	client := exampleClient(srv.URL)
	defer client.Close()

	api, err := url.Parse(srv.URL)
	if err != nil {
		log.Fatal(err)
	}
	proxy := httptest.NewServer(&httputil.ReverseProxy{
		Transport: client.Transport(),
		Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(api) // whatever host was asked for: the token's origin alone
			// What is the caller's own is for this proxy, not for the API; the client
			// leaves a request alone that has an Authorization already.
			r.Out.Header.Del("Authorization")
			r.Out.Header.Del("Cookie")
		},
	})
	defer proxy.Close()

	req, err := http.NewRequest(http.MethodGet, proxy.URL+"/orders", nil)
	if err != nil {
		log.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer of-the-caller")
	req.Header.Set("Cookie", "session=of-the-caller")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		log.Fatal(err)
	}
	defer resp.Body.Close()
	fmt.Println(resp.Status)
	// Output:
	// the API sees /orders [Bearer the-token] []
	// 200 OK
}
