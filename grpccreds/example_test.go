package grpccreds_test

import (
	"context"
	"fmt"
	"log"

	"github.com/evertoken/evertoken"
	"github.com/evertoken/evertoken/grpccreds"
)

// What gRPC is given for a call. In a program it asks by itself:
// grpc.WithPerRPCCredentials(creds). A whole one is in examples/ecosystem.
func ExampleNew() {
	var client evertoken.TokenSource = &source{token: evertoken.Token{AccessToken: "the-token"}} // from evertoken.New
	creds, err := grpccreds.New(client, grpccreds.Options{Origins: []string{"https://api.example.com"}})
	if err != nil {
		log.Fatal(err)
	}
	for _, uri := range []string{"https://api.example.com/orders.Orders", "https://elsewhere.example.com/orders.Orders"} {
		metadata, err := creds.GetRequestMetadata(context.Background(), uri)
		fmt.Println(metadata["authorization"], err != nil)
	}
	// Output:
	// Bearer the-token false
	//  true
}
