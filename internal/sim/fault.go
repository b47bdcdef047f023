package sim

import (
	"maps"
	"slices"
	"time"
)

// A fault is one thing that goes wrong, or that somebody does at a bad moment.
type fault string

// On the way to the issuer: one of these, or none, befalls each connection.
const (
	refused       fault = "connection refused"
	noName        fault = "DNS failure"
	slowDial      fault = "slow connection"
	resetBefore   fault = "reset before the request is read"
	lostReply     fault = "reply lost, closed"
	truncated     fault = "truncated body"
	html200       fault = "HTML 200"
	html403       fault = "HTML 403"
	html503       fault = "HTML 503"
	tooMany       fault = "429"
	tooManyWait   fault = "429 with Retry-After"
	stall         fault = "stall, never processed"
	stallAfter    fault = "stall after processing"
	deadPath      fault = "dead path, never processed"
	deadPathAfter fault = "dead path after processing"
	slow          fault = "slow issuer"
	gateway       fault = "504 after processing"
)

// At one step of a process.
const (
	kill    fault = "process killed"
	frozen  fault = "process frozen"
	suspend fault = "machine suspended"
)

// At one operation of the store.
const (
	unreadable  fault = "store unreadable"
	saveFails   fault = "save fails"
	saveUnknown fault = "save fails after it was done"
	storeSlow   fault = "store slow"
	leaseFails  fault = "lease not extended"
	leaseLost   fault = "lease lost early"
)

// From time to time, for a while or once.
const (
	outage      fault = "issuer outage"
	brownout    fault = "issuer brownout"
	storeDown   fault = "store down"
	storeFull   fault = "store full"
	cutOff      fault = "one process cut off from the store"
	rollback    fault = "store rolled back"
	issuerClock fault = "issuer's clock set"
	hostClock   fault = "process's clock set"
	revocation  fault = "sessions revoked at the issuer"
	keyChange   fault = "access tokens refused"
	signIn      fault = "sign-in"
	signOut     fault = "sign-out"
	closing     fault = "client closed"
	asked       fault = "Refresh called"
)

// ways are the faults of a connection, in the order in which they are drawn.
func ways() []fault {
	return []fault{
		refused, noName, slowDial, resetBefore, lostReply, truncated, html200, html403, html503,
		tooMany, tooManyWait, stall, stallAfter, deadPath, deadPathAfter, slow, gateway,
	}
}

// events are the faults that the world itself sets off, in order.
func events() []fault {
	return []fault{
		outage, brownout, storeDown, storeFull, cutOff, rollback, issuerClock, hostClock,
		revocation, keyChange, signIn, signOut, closing, asked, kill, frozen, suspend,
	}
}

func steps() []fault { return []fault{kill, frozen, suspend} }

func storeFaults() []fault {
	return []fault{unreadable, saveFails, saveUnknown, storeSlow, leaseFails, leaseLost}
}

// rates say how likely each fault is: per connection, per step, per store
// operation, and for events per lifetime of an access token. A world knows some
// of the faults only: rare meetings of two become common where there are few.
func rates(d *dice) map[fault]float64 {
	r := make(map[fault]float64)
	draw := func(faults []fault, share, lo, hi float64) {
		for _, f := range faults {
			rate := lo + (hi-lo)*d.float()*d.float()
			if d.chance(share) {
				r[f] = rate
			}
		}
	}
	draw(ways(), 0.4, 0.002, 0.12)
	draw(steps(), 0.5, 0.0005, 0.01)
	draw(storeFaults(), 0.4, 0.0005, 0.02)
	for _, e := range events() {
		rate := 0.2 * d.float() * d.float()
		if d.chance(0.4) {
			r[e] += rate
		}
	}
	// Each of these ends sessions by itself; too many would hide the others.
	for _, f := range []fault{rollback, revocation, signOut} {
		r[f] /= 4
	}
	return r
}

// A duration that is drawn for a fault.
func (f fault) lasts(d *dice) time.Duration {
	switch f {
	case outage:
		return d.between(5*time.Second, 3*24*time.Hour)
	case brownout, storeDown, storeFull, cutOff:
		return d.between(5*time.Second, 2*time.Hour)
	case frozen:
		return d.between(time.Second, 20*time.Minute)
	case suspend:
		return d.between(10*time.Second, 12*time.Hour)
	case slow:
		return d.between(time.Second, 5*time.Minute)
	case slowDial:
		return d.between(time.Second, time.Minute)
	case storeSlow:
		return d.between(100*time.Millisecond, 20*time.Second)
	default:
		return d.between(time.Millisecond, 100*time.Millisecond)
	}
}

// A tally counts.
type tally map[string]int

func (t tally) add(o tally) {
	for k, n := range o {
		t[k] += n
	}
}

func (t tally) sum() (n int) {
	for _, c := range t {
		n += c
	}
	return n
}

// sorted returns the keys, the most frequent first.
func (t tally) sorted() []string {
	return slices.SortedFunc(maps.Keys(t), func(a, b string) int {
		if t[a] != t[b] {
			return t[b] - t[a]
		}
		if a < b {
			return -1
		}
		return 1
	})
}
