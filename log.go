package evertoken

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"time"

	"github.com/evertoken/evertoken/storage"
)

// logAt is where every line comes from. What it may say is listed in docs/logs.md.
func (b *board) logAt(level slog.Level, message string, attrs ...slog.Attr) {
	if level >= b.level {
		b.log.LogAttrs(context.Background(), level, message, append(attrs, slog.String("session", b.key))...)
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
	attrs := []slog.Attr{word("reason", e.Reason), moment("expiry", e.Expiry)}
	if e.Err != nil {
		attrs = append(attrs, slog.String("outcome", e.Outcome.String()), slog.String("error", e.Err.Error()))
	}
	if e.Kind == Failed {
		attrs = append(attrs, moment("next", e.Next))
	}
	if e.Took > 0 {
		attrs = append(attrs, slog.Duration("took", e.Took))
	}
	if e.Waiting > 0 {
		attrs = append(attrs, slog.Int("waiting", e.Waiting))
	}
	return attrs
}

// word and moment leave out what is not known.
func word(key, value string) slog.Attr {
	if value == "" {
		return slog.Attr{}
	}
	return slog.String(key, value)
}

func moment(key string, t time.Time) slog.Attr {
	if t.IsZero() {
		return slog.Attr{}
	}
	return slog.Time(key, t)
}

// A talk is what the log has to tell, and what it has told. A client with which all
// is well, and whose state was told, has none.
type talk struct {
	said    State    // the state that was told last; empty: none
	trouble string   // what is wrong; see troubleOf
	named   []string // what it has warned of since all was well
	leaving bool     // somebody signs out here, or has, and nobody has signed in since
}

// leave notes that the session is about to be ended here, on purpose.
func (b *board) leave() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.talking().leaving = true
}

// ails notes what is wrong; empty if nothing is. With mu held, as what follows.
func (b *board) ails(trouble string) {
	if trouble != "" || b.talk != nil {
		b.talking().trouble = trouble
	}
}

func (b *board) talking() *talk {
	if b.talk == nil {
		b.talk = &talk{said: b.state}
	}
	return b.talk
}

// remark logs the state when it has changed, when something else is wrong than
// before, and when nothing is any more.
func (b *board) remark() {
	t := talk{said: b.state}
	if b.talk != nil {
		t = *b.talk
	}
	if level, news := b.news(t); news {
		attrs := []slog.Attr{moment("expiry", b.shown.life.expiry), moment("next", b.nextCheck())}
		if t.trouble != "" {
			attrs = append(attrs, slog.String("trouble", t.trouble), slog.Int("failures", int(b.failed)))
			t.named = append(t.named, t.trouble)
		} else if b.state != Degraded {
			t.named = nil
		}
		if b.err != nil {
			attrs = append(attrs, slog.String("error", b.err.Error()))
		}
		t.said = b.state
		b.logAt(level, "evertoken: "+string(b.state), attrs...)
	}
	if b.talk = nil; t.trouble != "" || t.named != nil || t.leaving {
		b.talk = &t
	}
}

// news says whether the state is worth a line, and of which level. Each kind of
// trouble is named once until all is well again, however often it comes back.
func (b *board) news(t talk) (slog.Level, bool) {
	changed, first := b.state != t.said, t.said == ""
	worse := t.trouble != "" && !slices.Contains(t.named, t.trouble)
	better := t.trouble == "" && len(t.named) > 0 && b.state != Degraded // which a new sign-in is until its first renewal
	switch {
	case b.state == "":
		return slog.LevelDebug, false
	case b.state == Closed:
		return slog.LevelDebug, true
	case worse, better && !t.leaving, b.state == SignedOut && changed && !first && !t.leaving:
		return slog.LevelWarn, true
	}
	return slog.LevelInfo, changed
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
	case storeFailure(err) != nil, errors.Is(err, storage.ErrCorrupt):
		return "store"
	case errors.As(err, &store), errors.Is(err, errForeignNote): // others have it, or had
		return "another process"
	case err != nil:
		return "other"
	case k.exists() && k.Over:
		return Rejected.String()
	}
	return ""
}
