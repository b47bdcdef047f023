package evertoken

import (
	"context"
	"errors"
	"log/slog"
	"slices"

	"github.com/evertoken/evertoken/storage"
)

// logAt is where every line comes from. What it may say is listed in docs/logs.md.
func (b *board) logAt(level slog.Level, message string, attrs ...slog.Attr) {
	if level >= b.level {
		b.log.LogAttrs(context.Background(), level, message, attrs...)
	}
}

// debug logs a decision.
func (b *board) debug(message string, attrs ...slog.Attr) {
	b.logAt(slog.LevelDebug, message, attrs...)
}

// write logs an event.
func (b *board) write(e Event) { b.logAt(e.level(), "evertoken: "+string(e.Kind), e.attrs()...) }

// level leaves warnings to the state, which tells once of what fails many times. A
// verdict alone may never show there: Login mends it within the round.
func (e Event) level() slog.Level {
	switch {
	case e.Kind == SessionEnded && e.Err != nil:
		return slog.LevelWarn
	case e.Kind == Checked, e.Kind == Adopted:
		return slog.LevelDebug
	}
	return slog.LevelInfo
}

func (e Event) attrs() []slog.Attr {
	attrs := []slog.Attr{slog.String("reason", e.Reason), slog.Time("expiry", e.Expiry)}
	if e.Err != nil {
		attrs = append(attrs, slog.String("outcome", e.Outcome.String()), slog.String("error", e.Err.Error()))
	}
	if e.Kind == Failed {
		attrs = append(attrs, slog.Time("next", e.Next))
	}
	if e.Took > 0 {
		attrs = append(attrs, slog.Duration("took", e.Took))
	}
	if e.Waiting > 0 {
		attrs = append(attrs, slog.Int("waiting", e.Waiting))
	}
	return attrs
}

// leave notes that the session is about to be ended here, on purpose.
func (b *board) leave() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.leaving = true
}

// remark logs the state when it has changed, when something else is wrong than
// before, and when nothing is any more.
func (b *board) remark() {
	b.mu.Lock()
	defer b.mu.Unlock()
	s := &b.status
	level, news := b.newsLocked()
	b.leaving = b.leaving && s.State != SignedIn
	if !news {
		return
	}
	attrs := []slog.Attr{slog.Time("expiry", s.Expiry), slog.Time("next", s.NextCheck)}
	if b.trouble != "" {
		attrs = append(attrs, slog.String("trouble", b.trouble), slog.Int("failures", s.Failures))
	}
	if s.Err != nil {
		attrs = append(attrs, slog.String("error", s.Err.Error()))
	}
	b.logAt(level, "evertoken: "+string(s.State), attrs...)
	b.remarked = s.State
	if b.trouble == "" {
		b.named = nil
	} else {
		b.named = append(b.named, b.trouble)
	}
}

// newsLocked says whether the state is worth a line, and of which level. Each kind
// of trouble is named once until all is well again, however often it comes back.
func (b *board) newsLocked() (slog.Level, bool) {
	state, first := b.status.State, b.remarked == ""
	worse := b.trouble != "" && !slices.Contains(b.named, b.trouble)
	better := b.trouble == "" && len(b.named) > 0
	switch {
	case state == Closed:
		return slog.LevelDebug, true
	case worse, better && !b.leaving, state == SignedOut && state != b.remarked && !first && !b.leaving:
		return slog.LevelWarn, true
	}
	return slog.LevelInfo, state != b.remarked
}

// troubleOf says in a word what is wrong; empty if nothing is. That requests fail
// counts for more than why.
func troubleOf(k *snapshot, alive bool, err error) string {
	var answer *RefreshError
	var store *storeError
	switch {
	case err != nil && k.exists() && !alive:
		return "expired"
	case errors.As(err, &answer):
		return answer.Outcome.String()
	case errors.As(err, &store), errors.Is(err, storage.ErrCorrupt):
		return "store"
	case errors.Is(err, errForeignNote):
		return "another process"
	case err != nil:
		return "other"
	case k.exists() && k.Over:
		return Rejected.String()
	}
	return ""
}
