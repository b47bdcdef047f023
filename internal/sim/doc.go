// Package sim simulates the whole of evertoken at once: up to eight processes,
// each a Client on a host of its own, one store that they share, one issuer, and
// the network between them, on virtual time. A seed decides every fault, and
// what must always hold is checked at each step.
//
// Clients, transports, refreshers and issuer adapters are the real ones, down to
// net/http; only the far ends are simulated. The issuer is the matching server's
// core, so it rotates refresh tokens and ends a session whose spent token comes
// back; the checker stands beside it and knows what became of every token.
//
// # What must hold
//
//   - A refresh token is never sent again once a token that came of it is stored.
//   - A session dies only by the issuer's will or somebody's sign-out, or of a
//     cause that no client can do anything about: see [Result].
//   - Nothing is sent without a note of it in the store, and exchanges of one
//     session overlap only where a lease was lost.
//   - What is on its way is given its time, and silence is not answered by
//     sending again.
//   - Records are never replaced by older ones, deleted only by a sign-out, and
//     marked as over only on the issuer's word.
//   - No request carries a token that has expired, or goes to a foreign origin
//     with one; no log line, event or error holds a secret.
//   - Nobody hammers the issuer, nor renews before it is due; however many
//     processes share a session, it is renewed as if there were one.
//   - Who waits for an answer keeps asking for its lease, and who signs in unattended
//     has looked before, under one.
//   - Where nothing has been wrong for long, requests do not wait, and tokens are
//     replaced before they end.
//   - Nothing runs after Close.
//   - When the faults end, all processes come to one token and are served.
//
// # Running it
//
//	go test ./internal/sim                                       fixed seeds
//	make simulate DURATION=10m                                   new ones, and a report
//	go test ./internal/sim -run Replay -seed 42 -v               one, with its trace
//	go test ./internal/sim -run Twice -seed 1 -seeds 30          that a seed decides everything
//	make mutations                                               proof that it can fail
//	make compare                                                 the same worlds with other clients
package sim
