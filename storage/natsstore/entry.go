package natsstore

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

const (
	recordKind = "record"
	leaseKind  = "lease"
)

// name maps a session key to a key of the bucket, one to one. Keys of buckets are
// made of few characters, and dots divide them.
func name(key, kind string) string {
	const longest = 200
	var b strings.Builder
	for i := range len(key) {
		switch c := key[i]; {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', c == '-', c == '_':
			b.WriteByte(c)
		default:
			fmt.Fprintf(&b, "=%02x", c)
		}
	}
	if b.Len() > longest {
		sum := sha256.Sum256([]byte(key))
		return kind + ".hash." + hex.EncodeToString(sum[:])
	}
	return kind + "." + b.String()
}

// An entry is the last message about a key.
type entry struct {
	data     []byte
	revision uint64 // 0: there has never been one
	live     bool   // false: it is the mark of a deleted one
}

// last asks the server that leads the bucket. A plain Get of a bucket is answered
// by any replica, which may not have heard of a session yet; that would be taken
// for signing out.
func (s *Store) last(ctx context.Context, key, kind string) (entry, error) {
	if key == "" {
		return entry{}, errors.New("key is empty")
	}
	ctx, cancel := context.WithTimeout(ctx, s.js.Options().DefaultTimeout)
	defer cancel()
	question, err := json.Marshal(map[string]string{"last_by_subj": "$KV." + s.bucket + "." + name(key, kind)})
	if err != nil {
		return entry{}, err
	}
	reply, err := s.js.Conn().RequestWithContext(ctx, s.prefix()+"STREAM.MSG.GET.KV_"+s.bucket, question)
	if err != nil {
		return entry{}, err
	}
	return parse(reply.Data)
}

// prefix is where the JetStream API listens.
func (s *Store) prefix() string {
	switch o := s.js.Options(); {
	case o.Domain != "":
		return "$JS." + o.Domain + ".API."
	case o.APIPrefix != "":
		return strings.TrimSuffix(o.APIPrefix, ".") + "."
	}
	return jetstream.DefaultAPIPrefix
}

// parse reads the answer of the JetStream API: a message, or why there is none.
func parse(reply []byte) (entry, error) {
	var answer struct {
		Error   *jetstream.APIError `json:"error"`
		Message *struct {
			Sequence uint64 `json:"seq"`
			Header   []byte `json:"hdrs"`
			Data     []byte `json:"data"`
		} `json:"message"`
	}
	err := json.Unmarshal(reply, &answer)
	switch {
	case err != nil || answer.Error == nil && answer.Message == nil:
		return entry{}, errors.New("the server's answer is not one of JetStream")
	case answer.Error != nil && answer.Error.ErrorCode == jetstream.JSErrCodeMessageNotFound:
		return entry{}, nil
	case answer.Error != nil:
		return entry{}, answer.Error
	}
	m := answer.Message
	e := entry{data: m.Data, revision: m.Sequence, live: true}
	if len(m.Header) > 0 {
		header, err := nats.DecodeHeadersMsg(m.Header)
		if err != nil {
			return entry{}, fmt.Errorf("the message's header: %w", err)
		}
		e.live = !marks(header)
	}
	return e, nil
}

// marks says that a message is what a deleted or purged key leaves: a mark of a
// client, or of a server that has dropped the client's.
func marks(header nats.Header) bool {
	return header.Get("KV-Operation") != "" || header.Get(jetstream.MarkerReasonHeader) != ""
}

// put writes a key that is at a revision. The error is [overtaken] if it is at
// another one.
func (s *Store) put(ctx context.Context, key, kind string, data []byte, at uint64) (uint64, error) {
	if key == "" {
		return 0, errors.New("key is empty")
	}
	return s.kv.Update(ctx, name(key, kind), data, at)
}

// overtaken says that a write was refused because the key is at another revision.
func overtaken(err error) bool {
	var refused *jetstream.APIError
	if !errors.As(err, &refused) {
		return false
	}
	return refused.ErrorCode == jetstream.JSErrCodeStreamWrongLastSequence ||
		refused.ErrorCode == jetstream.JSErrCodeStreamWrongLastSequenceConstant
}
