package evertoken_test

import (
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"

	"github.com/evertoken/evertoken/internal/identity"
)

// A conversation goes on with what the server gave last.
type conversation struct {
	core           *identity.Server
	cookie, access string
}

func newConversation(t *testing.T, g identity.Generation) *conversation {
	t.Helper()
	core, err := identity.New(identity.Config{Generation: g, PasswordIterations: 1, Accounts: []identity.Account{
		{Email: "ann@example.com", UserName: "ann", Password: "Passw0rd!", Roles: []string{"User"}},
		{Email: "bob@example.com", UserName: "bob", Password: "Passw0rd!", TwoFactor: true},
	}})
	if err != nil {
		t.Fatal(err)
	}
	return &conversation{core: core}
}

const someID = `[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}`

// masked leaves out what differs each time.
func masked(s string) string {
	s = regexp.MustCompile(someID).ReplaceAllString(s, "ID")
	s = regexp.MustCompile(`eyJ[\w.-]+`).ReplaceAllString(s, "JWT")
	s = regexp.MustCompile(`expires=\w+, \d\d \w+ 20[^;]*`).ReplaceAllString(s, "expires=SOON")
	return regexp.MustCompile(`"lastSeen":"[^"]*"`).ReplaceAllString(s, `"lastSeen":"NOW"`)
}

// request makes what the page shows ready to send: with the secrets of now in
// place of those that were cut short.
func (c *conversation) request(head, body string) *http.Request {
	lines := strings.Split(head, "\n")
	method, path, _ := strings.Cut(lines[0], " ")
	if code := c.core.Code("bob@example.com", identity.ForTwoFactor); code != "" {
		body = strings.Replace(body, "937076", code, 1)
	}
	req := httptest.NewRequest(method, path, strings.NewReader(body))
	for _, line := range lines[1:] {
		name, value, _ := strings.Cut(line, ": ")
		switch {
		case name == "Cookie" && !strings.Contains(value, "00000000"):
			value = "refreshToken=" + c.cookie
		case strings.HasPrefix(value, "Bearer eyJ"):
			value = "Bearer " + c.access
		}
		req.Header.Set(name, value)
	}
	return req
}

// send returns what the page should show of the answer, if it shows these headers.
func (c *conversation) send(req *http.Request, shown string) string {
	w := httptest.NewRecorder()
	c.core.ServeHTTP(w, req)
	body := w.Body.String()
	if found := regexp.MustCompile(`refreshToken=(` + someID + `)`).FindStringSubmatch(w.Header().Get("Set-Cookie")); found != nil {
		c.cookie = found[1]
	}
	if found := regexp.MustCompile(`eyJ[\w.-]+`).FindString(body); found != "" {
		c.access = found
	}
	lines := []string{"HTTP/1.1 " + w.Result().Status}
	for _, line := range strings.Split(shown, "\n")[1:] {
		name, _, _ := strings.Cut(line, ": ")
		lines = append(lines, name+": "+w.Header().Get(name))
		w.Header().Del(name)
	}
	for name, values := range w.Header() {
		if name != "Date" && name != "Content-Length" {
			lines = append(lines, name+": "+values[0])
		}
	}
	return strings.TrimSpace(strings.Join(lines, "\n") + "\n\n" + body)
}

// The exchanges in docs/lightnap.md are those of the matching server.
func TestGuideToLightNap(t *testing.T) {
	exchanges := 0
	for _, section := range strings.Split(read(t, "docs/lightnap.md"), "\n## ") {
		name, text, _ := strings.Cut(section, "\n")
		c := newConversation(t, identity.Current)
		if name == "Older servers" {
			c = newConversation(t, identity.Older)
		}
		if name != "Signing in" && name != "Two factors" {
			c.send(c.request("POST /api/Identity/login\nContent-Type: application/json",
				`{"login":"ann@example.com","password":"Passw0rd!","rememberMe":true,"deviceDetails":"Go (linux/amd64)"}`), "")
		}
		for _, block := range strings.Split(text, "```http\n")[1:] {
			block, _, _ = strings.Cut(block, "\n```")
			asked, answered, _ := strings.Cut(block, "\n\nHTTP/1.1 ")
			answered = "HTTP/1.1 " + answered
			head, body, _ := strings.Cut(asked, "\n\n")
			shown, _, _ := strings.Cut(answered, "\n\n")
			got := c.send(c.request(head, body), shown)
			if masked(got) != masked(answered) {
				t.Errorf("%s: %s\nis answered\n%s\nand the page shows\n%s", name, head, got, answered)
			}
			exchanges++
		}
	}
	if exchanges < 12 {
		t.Errorf("the page shows %d exchanges", exchanges)
	}
}
