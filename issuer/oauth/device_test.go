package oauth

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/evertoken/evertoken"
)

const codeBody = `{"device_code":"s3cret-device-code","user_code":"WDJB-MJHT","verification_uri":"https://example.com/device"`

func pollError(code string) string {
	return reply("400 Bad Request", typeJSON, `{"error":"`+code+`"}`)
}

// When each poll comes, in seconds since the code was asked for, is decided by
// what the server says, and by nothing else: the bubble's clock is exact.
func TestDevicePolls(t *testing.T) {
	ok := reply("200 OK", typeJSON, grantedBody)
	pending, slower := pollError("authorization_pending"), pollError("slow_down")
	const hangUp = "" // no answer at all
	for _, tt := range []struct {
		name    string
		more    string // of the answer that brings the code
		answers []string
		polls   []int
		outcome evertoken.Outcome
		says    string // of the error; empty: a token
	}{
		{"every 5 s by default", `,"expires_in":600}`, []string{pending, pending, ok}, []int{5, 10, 15}, 0, ""},
		{"as often as the server wants", `,"interval":2}`, []string{pending, ok}, []int{2, 4}, 0, ""},
		{"an interval in quotes", `,"interval":"7"}`, []string{pending, ok}, []int{7, 14}, 0, ""},
		{"an interval of nothing", `,"interval":0}`, []string{pending, ok}, []int{5, 10}, 0, ""},
		{"slow_down is for good", `}`, []string{slower, pending, slower, pending, ok}, []int{5, 15, 25, 40, 55}, 0, ""},
		{"a timeout doubles", `,"expires_in":600}`, []string{hangUp, hangUp, pending, ok}, []int{5, 15, 35, 55}, 0, ""},
		{"a page doubles", `}`, []string{reply("502 Bad", "Content-Type: text/html\r\n", "<html>"), ok}, []int{5, 15}, 0, ""},
		{"doubling ends", `,"interval":50}`, []string{hangUp, hangUp, ok}, []int{50, 110, 170}, 0, ""},
		{"a longer interval stays", `,"interval":90}`, []string{hangUp, ok}, []int{90, 180}, 0, ""},
		{"Retry-After counts", `}`, []string{reply("429 Slow", "Retry-After: 60\r\n", ""), ok}, []int{5, 65}, 0, ""},
		{"pending with any status", `}`, []string{reply("428 Wait", typeJSON, `{"error":"authorization_pending"}`), ok}, []int{5, 10}, 0, ""},
		{"refused", `}`, []string{pending, pollError("access_denied")}, []int{5, 10}, evertoken.Rejected, "access_denied"},
		{"ended", `}`, []string{pollError("expired_token")}, []int{5}, evertoken.Rejected, "expired_token"},
		{"used", `}`, []string{pollError("invalid_grant")}, []int{5}, evertoken.Rejected, "invalid_grant"},
		{"wrong client", `}`, []string{pollError("invalid_client")}, []int{5}, evertoken.Misconfigured, "invalid_client"},
		{"an unknown word is the last", `}`, []string{pollError("odd")}, []int{5}, evertoken.Ambiguous, "odd"},
		{"the code's own end", `,"expires_in":12}`, []string{pending}, []int{5, 10}, evertoken.Rejected, "ended before anybody confirmed"},
		{"a lifetime already over", `,"expires_in":0}`, nil, nil, evertoken.Rejected, "expired_token"},
		{"a lifetime long over", `,"expires_in":-1e300}`, nil, nil, evertoken.Rejected, "expired_token"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				far := newFarEnd(t, append([]string{reply("200 OK", typeJSON, codeBody+tt.more)}, tt.answers...)...)
				began := time.Now()
				i := &Issuer{TokenURL: testToken, DeviceURL: "http://localhost/device", Client: must(Public("c"))(t), Transport: far.transport(), Scope: []string{"x", "y"}}
				shown := 0
				got, err := i.Device(t.Context(), func(_ context.Context, p Prompt) error {
					shown++
					if p.UserCode != "WDJB-MJHT" || p.URL != "https://example.com/device" {
						t.Errorf("prompt %+v", p)
					}
					return nil
				})
				var polls []int
				for _, at := range far.times[1:] {
					polls = append(polls, int(at.Sub(began)/time.Second))
				}
				if !reflect.DeepEqual(polls, tt.polls) {
					t.Errorf("polls at %v, want %v", polls, tt.polls)
				}
				if (shown == 1) != (tt.answers != nil) {
					t.Errorf("shown %d times", shown)
				}
				if tt.says == "" {
					if err != nil || got.RefreshToken != newRefresh {
						t.Errorf("got %v, %v", got, err)
					}
				} else if failed := failure(t, err); failed.Outcome != tt.outcome || !strings.Contains(err.Error(), tt.says) {
					t.Errorf("%v, want %v that says %q", err, tt.outcome, tt.says)
				}
				seen := far.requests()
				if seen[0].path != "/device" || seen[0].form.Encode() != "client_id=c&scope=x+y" {
					t.Errorf("asked for a code with %v", seen[0].form)
				}
				for _, s := range seen[1:] {
					if s.form.Get("device_code") != "s3cret-device-code" || s.form.Get("grant_type") != "urn:ietf:params:oauth:grant-type:device_code" || s.form.Has("scope") {
						t.Errorf("polled with %v", s.form)
					}
				}
			})
		})
	}
}

// A server that says nothing to one poll is asked again.
func TestDeviceSilence(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		far := newFarEnd(t, reply("200 OK", typeJSON, codeBody+`}`), silence, reply("200 OK", typeJSON, grantedBody))
		began := time.Now()
		i := &Issuer{TokenURL: testToken, DeviceURL: "http://localhost/device", Transport: far.transport()}
		_, err := i.Device(t.Context(), func(context.Context, Prompt) error { return nil })
		// 5 s to the first poll, 30 s of silence, 10 s to the second.
		if took := time.Since(began); err != nil || took != 45*time.Second {
			t.Errorf("%v after %v, want a token after 45 s", err, took)
		}
	})
}

func TestDeviceEndsWithContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		far := newFarEnd(t, reply("200 OK", typeJSON, codeBody+`}`), pollError("authorization_pending"))
		i := &Issuer{TokenURL: testToken, DeviceURL: "http://localhost/device", Transport: far.transport()}
		ctx, cancel := context.WithTimeout(t.Context(), 12*time.Second)
		defer cancel()
		began := time.Now()
		_, err := i.Device(ctx, func(context.Context, Prompt) error { return nil })
		if !errors.Is(err, context.DeadlineExceeded) || time.Since(began) != 12*time.Second {
			t.Errorf("%v after %v", err, time.Since(began))
		}
	})
}

func TestDeviceBegins(t *testing.T) {
	show := func(context.Context, Prompt) error { return errors.New("nowhere to show it") }
	for name, tt := range map[string]struct{ url, answer, says string }{
		"no URL":              {"", "", "DeviceURL is missing"},
		"no device_code":      {"http://localhost/d", reply("200 OK", typeJSON, `{"user_code":"u","verification_uri":"v"}`), `type "application/json" has no member device_code`},
		"no user_code":        {"http://localhost/d", reply("200 OK", typeJSON, `{"device_code":"s3cret","verification_uri":"v"}`), "no member user_code"},
		"no verification_uri": {"http://localhost/d", reply("200 OK", typeJSON, `{"device_code":"s3cret","user_code":"u"}`), "no member verification_uri"},
		"an older name":       {"http://localhost/d", reply("200 OK", typeJSON, `{"device_code":"d","user_code":"u","verification_url":"v"}`), "show: nowhere to show it"},
		"refused":             {"http://localhost/d", reply("401 No", typeJSON, `{"error":"invalid_client"}`), "invalid_client"},
		"a portal":            {"http://localhost/d", reply("200 OK", "Content-Type: text/html\r\n", "<html>s3cret"), "text/html"},
	} {
		far := newFarEnd(t, tt.answer)
		i := &Issuer{TokenURL: testToken, DeviceURL: tt.url, Transport: far.transport()}
		_, err := i.Device(t.Context(), show)
		if err == nil || !strings.Contains(err.Error(), tt.says) || strings.Contains(fmt.Sprint(err), "s3cret") {
			t.Errorf("%s: %v, want %q", name, err, tt.says)
		}
	}
}
