package evertoken

import (
	"errors"
	"io"
	"testing"
	"time"
)

func TestRefreshErrorTellsAllFacts(t *testing.T) {
	e := &RefreshError{
		Outcome: Rejected, StatusCode: 400, Code: "invalid_grant", Description: "spent", RetryAfter: time.Second, Err: io.ErrUnexpectedEOF,
	}
	if got, want := e.Error(), "evertoken: issuer: rejected, status 400, invalid_grant (spent): unexpected EOF"; got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	if !errors.Is(e, io.ErrUnexpectedEOF) {
		t.Error("the cause is not wrapped")
	}
	if got, want := new(RefreshError).Error(), "evertoken: issuer: ambiguous"; got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

func TestOutcomeNames(t *testing.T) {
	for o, want := range map[Outcome]string{
		Ambiguous: "ambiguous", NotSent: "not sent", Unavailable: "unavailable", Rejected: "rejected", Misconfigured: "misconfigured", 7: "outcome 7", -1: "outcome -1",
	} {
		if got := o.String(); got != want {
			t.Errorf("%d is %q, want %q", int(o), got, want)
		}
	}
}
