// Package evertoken keeps a program signed in.
//
// A [Client] holds one session. Its transport attaches the access token to the
// requests for its origins, its refresher renews the token in the background
// before it expires, and its store keeps the session over restarts and shares it
// between processes.
//
//	client, err := evertoken.New(ctx, evertoken.Config{
//		Issuer: &lightnap.Issuer{BaseURL: "https://api.example.com"},
//		Store:  storage.NewFile(dir),
//	})
//	if err != nil {
//		return err
//	}
//	defer client.Close()
//	resp, err := client.HTTP().Get("https://api.example.com/api/users/me/profile")
//
// Every CheckInterval (60 s) the refresher asks whether the token expires in
// less than ExpiryWindow (5 min), and renews it if so. Tokens that would not
// last until the next check are looked at earlier.
//
// # When something fails
//
// A refresh token that rotates can be used once; using it again makes a server
// end the session. So each failed attempt is judged by what the issuer said and,
// where nothing came back, by proof that nothing was sent: see [Outcome]. A
// token that is valid is served whatever the issuer does. A session ends when
// the issuer says so or somebody signs out; never because the network failed, a
// store could not be read or a proxy answered in the issuer's name.
package evertoken
