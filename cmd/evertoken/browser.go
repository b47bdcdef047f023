package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"time"
	"unicode"

	"github.com/evertoken/evertoken/issuer/oauth"
)

// hasBrowser guesses whether a browser here would be seen by whoever types. One
// that is named in $BROWSER would.
func hasBrowser() bool {
	switch {
	case os.Getenv("BROWSER") != "":
		return true
	case os.Getenv("SSH_CONNECTION") != "":
		return false
	case runtime.GOOS == "windows" || runtime.GOOS == "darwin":
		return true
	}
	return os.Getenv("DISPLAY") != "" || os.Getenv("WAYLAND_DISPLAY") != ""
}

// opener is the program that opens a URL.
func opener() []string {
	switch b := os.Getenv("BROWSER"); {
	case b != "":
		return []string{b}
	case runtime.GOOS == "darwin":
		return []string{"open"}
	case runtime.GOOS == "windows":
		return []string{"rundll32", "url.dll,FileProtocolHandler"}
	}
	return []string{"xdg-open"}
}

// openBrowser shows the page where the person signs in. A browser that does not
// start is no failure: the person can start one. The URL is no secret: what the
// browser brings back is worth nothing without the verifier, which stays here.
func openBrowser(_ context.Context, address string) error {
	fmt.Fprintf(os.Stderr, "Sign in with your browser. If none opens, open this:\n\n  %s\n\n", address)
	words := append(opener(), address)
	cmd := exec.Command(words[0], words[1:]...) // not bound to a context: it may stay open
	cmd.Env = environ("", "")
	if err := cmd.Start(); err != nil {
		return nil //nolint:nilerr // see above
	}
	return cmd.Process.Release()
}

// showCode tells the person what to type, and where.
func showCode(_ context.Context, p oauth.Prompt) error {
	fmt.Fprintf(os.Stderr, "Open %s in a browser and type this code:\n\n  %s\n\n", printable(p.URL), printable(p.UserCode))
	if p.FullURL != "" {
		fmt.Fprintf(os.Stderr, "or open %s\n", printable(p.FullURL))
	}
	if !p.Expiry.IsZero() {
		fmt.Fprintf(os.Stderr, "The code is good for %s.\n", span(time.Until(p.Expiry)))
	}
	return nil
}

// printable keeps a server from writing anything to a terminal but words.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return -1
		}
		return r
	}, s)
}
