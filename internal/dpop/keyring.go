package dpop

import "sync"

// maxKeys is how many tokens a Keyring remembers: far more than are in use at
// once, unless one issuer serves very many clients.
const maxKeys = 64

// A Keyring remembers which key the newest access tokens are bound to. A request
// may still carry the token of before a renewal, or of another sign-in, when the
// session in memory is the next one already; a proof by that one's key would be
// worthless. The zero value is empty. It is safe for concurrent use.
type Keyring struct {
	mu     sync.Mutex
	keys   map[string]*Key // by access token
	oldest [maxKeys]string // a ring of what is in keys
	next   int
}

// Put remembers the key of an access token, in place of the oldest if need be.
func (r *Keyring) Put(access string, k *Key) {
	if access == "" || k == nil {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.keys == nil {
		r.keys = make(map[string]*Key, maxKeys)
	}
	if _, known := r.keys[access]; !known {
		delete(r.keys, r.oldest[r.next])
		r.oldest[r.next] = access
		r.next = (r.next + 1) % maxKeys
	}
	r.keys[access] = k
}

// Get returns the key of an access token, or nil.
func (r *Keyring) Get(access string) *Key {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.keys[access]
}
