package evertest_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/evertoken/evertoken/evertest"
)

// A day passes in a moment. Name yours TestADay.
func testADay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv := evertest.NewServer(t, evertest.Options{Lifetime: 10 * time.Minute, Rotate: true, ReuseGrace: time.Minute})
		client := srv.NewClient(srv.Config())
		srv.Script(nil, nil, evertest.DropAfter(), nil, evertest.Stall())
		for minute := range 24 * 60 {
			if minute == 12*60 {
				srv.Outage(4 * time.Minute)
			}
			if _, err := client.Token(t.Context()); err != nil {
				t.Fatalf("after %d minutes: %v", minute, err)
			}
			<-time.After(time.Minute)
		}
		if n := srv.Counts().SpentTwice; n != 0 {
			t.Errorf("%d refresh tokens were spent twice", n)
		}
	})
}

// In a bubble of testing/synctest time is virtual, and nothing else has to be done
// for it: a lost reply, a silent issuer, a noon without network, and a token for
// each minute of the day.
func Example_virtualTime() {
	_ = []testing.InternalTest{{Name: "TestADay", F: testADay}} // go test finds it by its name
}
