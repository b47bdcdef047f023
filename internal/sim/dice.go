package sim

import (
	"hash/fnv"
	"math"
	"math/rand/v2"
	"sync"
	"time"
)

// A dice is a stream of chance that depends on the seed and its name alone. Each
// actor has one of its own: what one of them draws does not change what another
// one gets, so goroutines of different actors may run in any order.
type dice struct {
	mu  sync.Mutex
	rng *rand.Rand
}

func newDice(seed uint64, name string) *dice {
	h := fnv.New64a()
	_, _ = h.Write([]byte(name))
	//nolint:gosec // G404: a simulation has to be repeatable, not secret
	return &dice{rng: rand.New(rand.NewPCG(seed, h.Sum64()))}
}

// float is uniform in [0, 1).
func (d *dice) float() float64 {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.rng.Float64()
}

func (d *dice) chance(p float64) bool { return p > 0 && d.float() < p }

func (d *dice) below(n int) int { return int(d.float() * float64(n)) }

// between is a duration of every order of magnitude from lo to hi alike. It is
// drawn to the nanosecond, so that no two actors ever act at the same instant,
// where the order would be the scheduler's.
func (d *dice) between(lo, hi time.Duration) time.Duration {
	return time.Duration(float64(lo) * math.Pow(float64(hi)/float64(lo), d.float()))
}

// after is the time until the next of events that come once in mean on average.
func (d *dice) after(mean time.Duration) time.Duration {
	return time.Duration(-math.Log(1-d.float())*float64(mean)) + 1
}

func pick[T any](d *dice, options ...T) T { return options[d.below(len(options))] }
