// Package evertest serves tests of programs that stay signed in: a real issuer
// and a protected API, in process, with levers for what goes wrong in the field.
// Your test in ten lines:
//
//	func TestOrders(t *testing.T) {
//		srv := evertest.NewServer(t, evertest.Options{Handler: orders}) // your API, or a fake of it
//		client := srv.NewClient(srv.Config())                           // signs in by itself
//		program := New(client.HTTP(), srv.URL)                          // what you test
//		if _, err := client.Token(t.Context()); err != nil {            // is signed in from here on
//			t.Fatal(err)
//		}
//		srv.ExpireAccessTokens()                                        // the next request is refused
//		if err := program.Sync(t.Context()); err != nil {               // renewed and sent again
//			t.Fatal(err)
//		}
//	}
//
// # OAuth
//
// The same account signs in at a token endpoint (RFC 6749) as well: URL + "/oauth/token",
// with the grants password and refresh_token, and URL + "/oauth/revoke" to sign out. No
// client is registered there, so the Client of an oauth.Issuer stays nil; its Transport is
// [Server.Transport]. See the example OAuth.
//
// # Faults
//
// [Server.Script] says what becomes of the next refreshes, one after the other,
// and [Server.Fail] of the next few alike. [DropAfter], say, loses the reply to a
// request that the issuer has processed. [Server.Outage] takes the whole server off
// the network for a while. [Server.RevokeSessions] and [Server.ExpireAccessTokens]
// are the issuer's own doing. [Server.Counts] tells what it saw: SpentTwice is zero,
// or a session was at stake.
//
// # Time
//
// All connections are net.Pipe behind a real http.Transport. So a test may run in
// a bubble of testing/synctest, where time itself is virtual, for the client, the
// server and the program alike, and a day of renewals passes in a moment: see the
// example VirtualTime. No clock has to be handed around. Tests that have one of
// their own set [Options].Now and Config.Clock.
//
// # Processes
//
// Two clients on one store are what two processes are to each other: see the
// example TwoClients. For real ones, [Server.Listen] adds a loopback port.
package evertest
