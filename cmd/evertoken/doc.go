// Command evertoken keeps a person signed in, for scripts and for programs in
// any language.
//
//	go install github.com/evertoken/evertoken/cmd/evertoken@latest
//
//	evertoken login https://issuer.example --client-id app    # OAuth 2.0
//	evertoken login --lightnap https://api.example.com        # or LightNap
//	evertoken token -o header | curl -H @- https://api.example.com/things
//	evertoken exec -- ./deploy                                # has $ACCESS_TOKEN
//	evertoken proxy --to https://api.example.com
//	evertoken status
//	evertoken logout
//
// evertoken help, and evertoken help COMMAND, tell the flags.
//
// # Signing in
//
// An OAuth issuer is asked about itself (RFC 8414, or OpenID Connect discovery).
// The person signs in with a browser on this machine, which comes back over
// loopback (RFC 8252, with PKCE), or with a code and a browser anywhere (RFC 8628):
// the second if no display is found, or over SSH; --browser and --device choose.
// $BROWSER names another program to open pages with. At LightNap the password is
// asked for on the terminal, which does not show it, and so is the code of
// accounts with a second factor. --password-stdin is for programs.
//
// What some issuers want besides is a --param: audience=URL, or prompt=consent for a
// refresh token.
//
// evertoken login alone signs in once more, as the last time. A running proxy notices
// within a few seconds, as it does when somebody signs out.
//
// # Getting at the token
//
// token, exec and proxy hand out tokens that are valid. One with less than five
// minutes left (of a short life, less than a quarter) is renewed before. Of processes
// that find so at the same time one renews and the others get its result. If it can
// not be renewed, token says so and prints what is still valid.
//
// Prefer, in this order: the proxy, where the token never leaves evertoken; token -o
// header into a pipe; exec. The arguments of a command are for every user of the
// machine to see, so the common
//
//	curl -H "Authorization: Bearer $(evertoken token)" https://api.example.com/things
//
// shows them the token for as long as curl runs.
//
// The proxy listens on loopback, and serves all who can connect to that: other users
// of the machine, too. It refuses what browsers send for web pages: requests whose
// Host is another name than its own (DNS rebinding), and those with the Origin or
// Sec-Fetch-Site of another page.
//
// # Kubernetes
//
// token -o exec-credential speaks client.authentication.k8s.io/v1. Clusters that
// trust an OpenID Connect issuer want the id token: --id-token.
//
//	users:
//	- name: me
//	  user:
//	    exec:
//	      apiVersion: client.authentication.k8s.io/v1
//	      command: evertoken
//	      args: [token, -o, exec-credential, --id-token]
//	      interactiveMode: Never
//
// # Files
//
// The folder evertoken below [os.UserConfigDir], or that of --store, is for its owner
// alone (mode 0700, files 0600). A session has two files there: its profile, which
// names the issuer and the client and holds no secret, and its tokens. Both are
// records of a storage.File. A program of your own shares the session with
//
//	Store:   storage.NewFile(folder),
//	Session: "default lightnap https://api.example.com", // or "default oauth ISSUER-URL CLIENT-ID"
//
// # Environment
//
//	EVERTOKEN_CLIENT_SECRET  the secret of a confidential client; not passed on to commands
//	BROWSER                  the program that opens pages
//	XDG_CONFIG_HOME          where the folder is, on Linux
//
// # Exit status
//
//	0  done
//	1  failed
//	2  called wrongly
//	3  nobody is signed in, or the issuer has ended the session
//
// exec ends as its command does; with 125 if there is no token for it, 126 if it
// cannot be run and 127 if it is not found.
package main
