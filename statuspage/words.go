package statuspage

import (
	"errors"

	"github.com/evertoken/evertoken"
)

// An explanation says what something means, and what a person has to do.
type explanation struct{ Meaning, Advice string }

// explain says it of what failed last.
func explain(s evertoken.Status) explanation {
	var answer *evertoken.RefreshError
	switch {
	case errors.As(s.Err, &answer):
		return outcome(answer.Outcome)
	case s.StoreErr != nil && s.PersistPending:
		return explanation{"A new token was made, but it cannot be saved. It is kept in memory until it can.", "Mend the store before this program ends."}
	case s.StoreErr != nil:
		return explanation{"The session cannot be read or saved. Until it can, nothing is sent, and the token is used to its end.", "Mend the store."}
	case s.State == evertoken.SignedOut, errors.Is(s.Err, evertoken.ErrSignedOut):
		return explanation{"There is no session.", "Sign in, unless the program does so by itself."}
	case s.Err != nil && s.Lease == "elsewhere":
		return explanation{"Another process began to renew and has not told how it ended. Sending the same refresh token now could end the session.", "Nothing. This client goes on as soon as that is safe."}
	case s.Err != nil:
		return explanation{"The last attempt failed.", "See the error."}
	}
	return explanation{}
}

// outcome explains a failed attempt.
func outcome(o evertoken.Outcome) explanation {
	switch o {
	case evertoken.NotSent:
		return explanation{"Nothing reached the issuer, so the session is as good as before.", "Look at the network, DNS, the proxy and its certificate. It is tried again by itself."}
	case evertoken.Unavailable:
		return explanation{"The issuer, or something in front of it, answered that it is not available. That says nothing about the session.", "Nothing. It is tried again by itself."}
	case evertoken.Rejected:
		return explanation{"The issuer has ended the session, or does not accept the credentials.", "Sign in again, or correct the credentials."}
	case evertoken.Misconfigured:
		return explanation{"The issuer does not accept this client.", "Correct its id, secret or scope. It is tried again every few minutes."}
	case evertoken.Ambiguous:
	}
	return explanation{"The answer was lost, so nobody knows whether the refresh token was spent. Using a spent one could end the session.", "Nothing. It is tried again when that is safe. If it happens often, look at what is between here and the issuer."}
}

// because says why a renewal was made.
func because(reason string) string {
	switch reason {
	case "due":
		return "it was due"
	case "expired":
		return "it had ended"
	case "401":
		return "a server refused it"
	case "asked":
		return "the program asked for it"
	case "sign-in":
		return "somebody signed in"
	}
	return reason
}

// sender says who has the lock that lets one process at a time send.
func sender(s evertoken.Status) fact {
	const name = "Lock"
	switch {
	case s.Lease == "here" && s.PersistPending:
		return fact{name, "This process", "until the new token is saved", "warn"}
	case s.Lease == "here":
		return fact{name, "This process", "which renews now", "busy"}
	case s.Lease == "elsewhere":
		return fact{name, "Another process", "which has an attempt open", "busy"}
	}
	return fact{name, "Free", "nobody renews now", ""}
}
