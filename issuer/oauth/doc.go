// Package oauth renews tokens at any server with a token endpoint of RFC 6749,
// and gets the first one.
//
//	auth, err := oauth.ClientSecretBasic("my-client", secret)
//	if err != nil { ... }
//	issuer := &oauth.Issuer{
//		TokenURL: "https://login.example.com/oauth2/token",
//		Client:   auth,
//		APIs:     []string{"https://api.example.com"},
//		Grant:    oauth.ClientCredentials,
//	}
//	client, err := evertoken.New(ctx, evertoken.Config{Issuer: issuer, Login: issuer.Mint})
//
// # The first token
//
// Where nobody is present, [Issuer.Mint] gets it with the issuer's Grant:
// [ClientCredentials], [JWTBearer], [TokenExchange], or one of your own. It is
// the Login of an [evertoken.Config]. Such sessions often have no refresh token;
// they are renewed by minting anew.
//
// A person signs in with [Issuer.Authorize], in a browser on this machine, or
// with [Issuer.Device], in a browser anywhere. Both return a token for
// [evertoken.Client.SignIn]. So does x/oauth2, whose refresh token is all that a
// program which moves here has to bring along.
//
// # Tokens bound to a key
//
// With [Issuer.DPoP] tokens are of no use to who steals them (RFC 9449). Requests
// of the client, its HTTP and its Transport, carry a fresh proof each. Elsewhere
// such a token is worthless. The key is kept in the store with the session, and
// so whoever can read the store can use both.
//
// # Servers differ
//
// What a server does in its own way is data: a [Dialect]. The zero Dialect is
// RFC 6749. Presets are there for [Hydra], [OIDCProvider], [Zitadel],
// [Supabase], [PocketBase], [Dex], [Gitea], [Glewlwyd], [Directus] and [GitHub].
//
// To write one, let the server refuse you: refresh with a token that is made up,
// with one that was used before, and with a wrong client secret. Look at status
// and body of each answer.
//
//   - invalid_grant for both tokens and invalid_client for the secret: the zero
//     Dialect will do.
//   - Another word for a dead token: add a [Verdict] that says [evertoken.Rejected]
//     of it, as narrow as possible. If the same word is said of other faults too,
//     tell them apart by Text. A Verdict that is too wide signs users out; one that
//     is missing only makes the client try again.
//   - The word stands in another member than "error": name it in ErrorCode.
//   - The token, or its lifetime, stands in another member, or is not in seconds:
//     AccessToken, RefreshToken, ExpiresIn, Unit.
//
// ReuseGrace is for the server's operator to tell: how long a refresh token is
// still accepted after its first use. If in doubt leave it zero; one that is too
// long makes the client spend tokens twice.
package oauth
