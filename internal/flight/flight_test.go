package flight

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httptrace"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/benbjohnson/clock"
)

// A lease counts what is done to it.
type lease struct {
	extended atomic.Int32
	fails    bool
	hangs    chan struct{} // Extend waits until it is closed; nil: it does not
	takes    func()        // what Extend does meanwhile; may be nil
}

func (l *lease) Extend(ctx context.Context) error {
	l.extended.Add(1)
	if l.takes != nil {
		l.takes()
	}
	if l.hangs != nil {
		select {
		case <-l.hangs:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	if l.fails {
		return errors.New("gone")
	}
	return nil
}

func (*lease) Release() {}

var (
	epoch  = time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)
	errEnd = errors.New("the call's own error")
)

// inBubble runs f with a mock clock.
func inBubble(t *testing.T, f func(t *testing.T, mock *clock.Mock)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		mock := clock.NewMock()
		mock.Set(epoch)
		f(t, mock)
	})
}

// get is a call of an issuer on net/http that waits in its dialler until told.
func get(dialing, dial chan struct{}, url string) func(context.Context) (string, error) {
	tr := &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
		close(dialing)
		select {
		case <-dial:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
		return new(net.Dialer).DialContext(ctx, network, addr)
	}}
	return func(ctx context.Context) (string, error) {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
		if err != nil {
			return "", err
		}
		resp, err := tr.RoundTrip(req)
		if err != nil {
			return "", err
		}
		return resp.Status, resp.Body.Close()
	}
}

// A process that was frozen while it dialled sends nothing once its lease is
// gone; the connection is closed before anything is written on it.
func TestGuard(t *testing.T) {
	requests := 0
	srv := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { requests++ }))
	defer srv.Close()
	for name, tt := range map[string]struct {
		confirmed bool
		frozen    time.Duration
		sent      bool
	}{
		"within two thirds": {true, 10 * time.Second, true},
		"after":             {true, 10*time.Second + 1, false},
		"never confirmed":   {false, 0, false},
	} {
		requests = 0
		mock := clock.NewMock()
		dialing, dial := make(chan struct{}), make(chan struct{})
		held := &lease{}
		right := Hold(held, 15*time.Second, mock)
		if tt.confirmed && right.Extend(t.Context()) != nil {
			t.Fatal("not extended")
		}
		held.fails = true
		plan := Plan{Clock: mock, Right: right, Patience: time.Hour}
		go func() {
			<-dialing
			mock.Add(tt.frozen)
			close(dial)
		}()
		_, err := Run(t.Context(), plan, get(dialing, dial, srv.URL))
		if errors.Is(err, ErrGuard) == tt.sent || (err == nil) != tt.sent || (requests == 1) != tt.sent {
			t.Errorf("%s: %v after %d requests", name, err, requests)
		}
	}
}

// The heartbeat keeps its time, whatever else the exchange is told meanwhile.
func TestBeatIsNotPutOff(t *testing.T) {
	inBubble(t, func(t *testing.T, mock *clock.Mock) {
		held, closing, finish := new(lease), make(chan struct{}), make(chan struct{})
		ended := make(chan error, 1)
		go func() {
			plan := Plan{Clock: mock, Right: Hold(held, 15*time.Second, mock), Patience: time.Hour, Closing: closing}
			_, err := Run(t.Context(), plan, func(context.Context) (string, error) {
				<-finish
				return "", errEnd
			})
			ended <- err
		}()
		synctest.Wait()
		mock.Add(4 * time.Second)
		synctest.Wait()
		close(closing)
		synctest.Wait()
		mock.Add(time.Second)
		synctest.Wait()
		if n := held.extended.Load(); n != 1 {
			t.Errorf("extended %d times after a third of the ttl, want once", n)
		}
		close(finish)
		if err := <-ended; !errors.Is(err, errEnd) {
			t.Errorf("Run = %v", err)
		}
	})
}

// Closing cancels what waits for a connection, and nothing that has one.
func TestClosing(t *testing.T) {
	arrived, answer := make(chan struct{}), make(chan struct{})
	srv := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		close(arrived)
		<-answer
	}))
	defer srv.Close()
	for _, written := range []bool{false, true} {
		dialing, dial, closing := make(chan struct{}), make(chan struct{}), make(chan struct{})
		go func() {
			<-dialing
			if written {
				close(dial)
				<-arrived
				close(closing)
				close(answer)
			} else {
				close(closing)
			}
		}()
		status, err := Run(t.Context(), Plan{Clock: clock.New(), Patience: time.Hour, Closing: closing}, get(dialing, dial, srv.URL))
		if written && (err != nil || status != "200 OK") || !written && !errors.Is(err, ErrClosing) {
			t.Errorf("written %t: %q, %v", written, status, err)
		}
	}
}

// untilTold is a call that does not speak net/http.
func untilTold(answer chan struct{}) func(context.Context) (string, error) {
	return func(ctx context.Context) (string, error) {
		select {
		case <-answer:
			return "answer", nil
		case <-ctx.Done():
			return "", errEnd
		}
	}
}

func TestPatienceAndHeartbeat(t *testing.T) {
	inBubble(t, func(t *testing.T, mock *clock.Mock) {
		l := new(lease)
		done := make(chan error)
		go func() {
			_, err := Run(t.Context(), Plan{Clock: mock, Right: Hold(l, 15*time.Second, mock), Patience: time.Minute}, untilTold(nil))
			done <- err
		}()
		for range 59 {
			synctest.Wait()
			mock.Add(time.Second)
		}
		synctest.Wait()
		select {
		case err := <-done:
			t.Fatalf("gave up early: %v", err)
		default:
		}
		if n := l.extended.Load(); n != 11 {
			t.Errorf("extended %d times in 59 s, want every 5 s", n)
		}
		mock.Add(time.Second)
		if err := <-done; !errors.Is(err, context.DeadlineExceeded) || !errors.Is(err, errEnd) {
			t.Errorf("ended with %v, want the deadline and the call's error", err)
		}
	})
}

// Who was frozen past its deadline has not listened: what has arrived counts.
func TestDeadlineThatWasSleptOver(t *testing.T) {
	for name, arrives := range map[string]bool{"the answer is there": true, "there is none": false} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, mock *clock.Mock) {
				late := &lateClock{Mock: mock}
				answer, done := make(chan struct{}), make(chan error)
				go func() {
					_, err := Run(t.Context(), Plan{Clock: late, Patience: time.Minute}, untilTold(answer))
					done <- err
				}()
				synctest.Wait()
				late.frozen.Store(int64(10 * time.Minute))
				mock.Add(time.Minute)
				synctest.Wait()
				select {
				case err := <-done:
					t.Fatalf("gave up without listening: %v", err)
				default:
				}
				if arrives {
					close(answer)
				} else {
					mock.Add(overslept)
				}
				if err := <-done; (err == nil) != arrives {
					t.Errorf("ended with %v", err)
				}
			})
		})
	}
}

// lateClock is that of a process that does not run when its timers are due.
type lateClock struct {
	*clock.Mock
	frozen atomic.Int64
}

func (c *lateClock) Now() time.Time { return c.Mock.Now().Add(time.Duration(c.frozen.Load())) }

// A traced call does what net/http does: it wants a connection, has one, and
// waits for the answer, each when it is told.
type traced struct {
	dialled, answered chan struct{}
	ended             error // of its context
	closed            bool  // the connection was, by the flight
}

// A watchedConn knows whether it was closed.
type watchedConn struct {
	net.Conn
	closed bool
}

func (c *watchedConn) Close() error {
	c.closed = true
	return c.Conn.Close()
}

func newTraced() *traced {
	return &traced{dialled: make(chan struct{}), answered: make(chan struct{})}
}

func (c *traced) call(ctx context.Context) (string, error) {
	trace := httptrace.ContextClientTrace(ctx)
	trace.GetConn("")
	select {
	case <-c.dialled:
	case <-ctx.Done():
		c.ended = context.Cause(ctx)
		return "", errEnd
	}
	near, far := net.Pipe()
	defer func() { _, _ = near.Close(), far.Close() }()
	conn := &watchedConn{Conn: near}
	trace.GotConn(httptrace.GotConnInfo{Conn: conn})
	c.closed = conn.closed
	trace.GetConn("") // a second one, to another address
	select {
	case <-c.answered:
		return "answer", nil
	case <-ctx.Done():
		c.ended = context.Cause(ctx)
		return "", errEnd
	}
}

// start runs a plan in a goroutine.
func start(t *testing.T, p Plan, call func(context.Context) (string, error)) <-chan error {
	t.Helper()
	done := make(chan error, 1)
	go func() {
		_, err := Run(t.Context(), p, call)
		done <- err
	}()
	synctest.Wait()
	return done
}

// Patience counts from when the request is written: until then nothing can be
// processed.
func TestPatienceCountsFromTheWriting(t *testing.T) {
	inBubble(t, func(t *testing.T, mock *clock.Mock) {
		c := newTraced()
		done := start(t, Plan{Clock: mock, Patience: time.Minute}, c.call)
		mock.Add(40 * time.Second)
		close(c.dialled)
		synctest.Wait()
		mock.Add(59 * time.Second)
		synctest.Wait()
		if len(done) != 0 {
			t.Fatalf("gave up after 59 s: %v", <-done)
		}
		mock.Add(time.Second)
		if err := <-done; !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("ended with %v", err)
		}
	})
	inBubble(t, func(t *testing.T, mock *clock.Mock) {
		done := start(t, Plan{Clock: mock, Patience: time.Minute}, newTraced().call)
		mock.Add(time.Minute)
		if err := <-done; !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("dialling ended with %v", err)
		}
	})
}

// Once a connection was given nothing but patience ends the call, and before
// nothing has to be waited for; not even if Close came first.
func TestClosingAtEachStage(t *testing.T) {
	for name, tt := range map[string]struct {
		early, dialled bool
	}{"before it began": {true, false}, "while dialling": {false, false}, "written": {false, true}} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, mock *clock.Mock) {
				c, closing, begin := newTraced(), make(chan struct{}), make(chan struct{})
				done := start(t, Plan{Clock: mock, Patience: time.Minute, Closing: closing}, func(ctx context.Context) (string, error) {
					<-begin
					return c.call(ctx)
				})
				if tt.early {
					close(closing)
					synctest.Wait()
				}
				close(begin)
				if tt.dialled {
					close(c.dialled)
				}
				synctest.Wait()
				if !tt.early {
					close(closing)
					synctest.Wait()
				}
				if waits := len(done) == 0; waits != tt.dialled {
					t.Errorf("waits: %t", waits)
				}
				close(c.answered)
				if err := <-done; tt.dialled && err != nil || !tt.dialled && err != ErrClosing { //nolint:errorlint // alone: the call's own error would say less
					t.Errorf("ended with %v", err)
				}
			})
		})
	}
}

// What the guard stops cannot be written any more, and the error is the proof
// alone: the call's own may look like a deadline.
func TestGuardClosesTheConnection(t *testing.T) {
	inBubble(t, func(t *testing.T, mock *clock.Mock) {
		c := newTraced()
		done := start(t, Plan{Clock: mock, Right: Hold(&lease{fails: true}, 15*time.Second, mock), Patience: time.Hour}, c.call)
		mock.Add(11 * time.Second)
		synctest.Wait()
		close(c.dialled)
		if err := <-done; err != ErrGuard { //nolint:errorlint // see above
			t.Errorf("ended with %v", err)
		}
		if !errors.Is(c.ended, ErrGuard) {
			t.Errorf("the call was ended by %v", c.ended)
		}
		if !c.closed {
			t.Error("the connection was left open: net/http may have written by the time it sees its context")
		}
	})
}

// An answer that came in spite of all counts.
func TestAnswerAfterTheDeadline(t *testing.T) {
	inBubble(t, func(t *testing.T, mock *clock.Mock) {
		answer := make(chan struct{})
		done := start(t, Plan{Clock: mock, Patience: time.Minute}, func(context.Context) (string, error) {
			<-answer
			return "answer", nil
		})
		mock.Add(time.Minute)
		synctest.Wait()
		close(answer)
		if err := <-done; err != nil {
			t.Errorf("ended with %v", err)
		}
	})
}

// A call that ended by itself has not met the deadline, even if the flight sees
// both at once.
func TestEndAtTheDeadline(t *testing.T) {
	for range 20 { // select draws
		inBubble(t, func(t *testing.T, mock *clock.Mock) {
			l := &lease{hangs: make(chan struct{})}
			answer := make(chan struct{})
			done := start(t, Plan{Clock: mock, Right: Hold(l, 15*time.Second, mock), Patience: 7 * time.Second}, func(context.Context) (string, error) {
				<-answer
				return "", errEnd
			})
			mock.Add(5 * time.Second) // a heartbeat that takes its time
			synctest.Wait()
			mock.Add(2 * time.Second)
			close(answer)
			synctest.Wait()
			close(l.hangs)
			if err := <-done; err != errEnd { //nolint:errorlint // nothing else may be in it
				t.Fatalf("ended with %v", err)
			}
		})
	}
}

// A store that hangs does not keep a flight from its deadline.
func TestHeartbeatThatHangs(t *testing.T) {
	inBubble(t, func(t *testing.T, mock *clock.Mock) {
		l := &lease{hangs: make(chan struct{})}
		done := start(t, Plan{Clock: mock, Right: Hold(l, 15*time.Second, mock), Patience: 8 * time.Second}, untilTold(nil))
		for range 10 {
			mock.Add(time.Second)
			synctest.Wait()
		}
		if err := <-done; !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("ended with %v", err)
		}
		if n := l.extended.Load(); n == 0 {
			t.Error("no heartbeat")
		}
	})
}

func TestWithin(t *testing.T) {
	inBubble(t, func(t *testing.T, mock *clock.Mock) {
		done := make(chan error)
		go func() {
			done <- Within(t.Context(), mock, time.Minute, func(ctx context.Context) error {
				<-ctx.Done()
				return context.Cause(ctx)
			})
		}()
		synctest.Wait()
		mock.Add(time.Minute)
		if err := <-done; !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("a step that hangs ended with %v", err)
		}
		if err := Within(t.Context(), mock, time.Hour, func(context.Context) error { return errEnd }); !errors.Is(err, errEnd) {
			t.Errorf("a step that fails ended with %v", err)
		}
		if at := mock.WaitForAllTimers(); at.Sub(epoch) != time.Minute {
			t.Errorf("a timer was left behind; it fired at %v", at)
		}
	})
}
