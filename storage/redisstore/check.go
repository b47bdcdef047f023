package redisstore

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/redis/go-redis/v9"
)

var (
	// ErrVolatile means that the server can lose a save that it has
	// acknowledged; the error says by which setting.
	ErrVolatile = errors.New("redisstore: the server can lose an acknowledged save")

	// ErrUntold means that the server does not tell its settings, as managed
	// ones do not: its operator's documents say what it keeps.
	ErrUntold = errors.New("redisstore: cannot tell whether the server can lose an acknowledged save")
)

// Check asks the server, and every master of a cluster, whether it keeps each
// save that it acknowledges. The error is [ErrVolatile], [ErrUntold], or of the
// connection. What a failover loses cannot be asked for.
func (s *Store) Check(ctx context.Context) error {
	var mu sync.Mutex
	var faults []string
	err := s.eachMaster(ctx, func(ctx context.Context, node redis.Cmdable) error {
		found, err := risks(ctx, node)
		mu.Lock()
		defer mu.Unlock()
		faults = append(faults, found...)
		return err
	})
	var refused redis.Error
	switch {
	case len(faults) > 0:
		slices.Sort(faults)
		return fmt.Errorf("%w: %s", ErrVolatile, strings.Join(slices.Compact(faults), "; "))
	case errors.Is(err, ErrUntold):
		return err
	case errors.As(err, &refused):
		return fmt.Errorf("%w: CONFIG GET was refused: %w", ErrUntold, err)
	case err != nil:
		return fmt.Errorf("redisstore: check: %w", err)
	}
	return nil
}

// eachMaster calls step for every server that takes writes.
func (s *Store) eachMaster(ctx context.Context, step func(context.Context, redis.Cmdable) error) error {
	node := func(ctx context.Context, c *redis.Client) error { return step(ctx, c) }
	switch c := s.client.(type) {
	case *redis.ClusterClient:
		return c.ForEachMaster(ctx, node)
	case *redis.Ring:
		return c.ForEachShard(ctx, node)
	}
	return step(ctx, s.client)
}

// risks names the settings of one server by which a save can be lost.
func risks(ctx context.Context, node redis.Cmdable) (faults []string, err error) {
	set := make(map[string]string)
	for _, name := range []string{"appendonly", "appendfsync", "maxmemory", "maxmemory-policy"} {
		got, err := node.ConfigGet(ctx, name).Result()
		if err != nil {
			return nil, err
		}
		if got[name] == "" {
			return nil, fmt.Errorf("%w: it has no setting %s", ErrUntold, name)
		}
		set[name] = got[name]
	}
	switch {
	case set["appendonly"] != "yes":
		faults = append(faults, "appendonly is no: when the server ends, all that was saved since its last snapshot is lost")
	case set["appendfsync"] == "everysec":
		faults = append(faults, "appendfsync is everysec: when the machine goes down, or the server while the disk is slow, the saves of the last two seconds are lost")
	case set["appendfsync"] != "always":
		faults = append(faults, "appendfsync is "+set["appendfsync"]+": when the machine goes down, what the system had not written yet is lost")
	}
	if policy := set["maxmemory-policy"]; set["maxmemory"] != "0" && strings.HasPrefix(policy, "allkeys-") {
		faults = append(faults, "maxmemory-policy is "+policy+": when memory is full, a session may be removed as if its user had signed out")
	}
	return faults, nil
}
