package main

import (
	"context"
	"errors"
	"fmt"
	"html"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"regexp"
	"strings"
)

// A browser is a person who signs in and agrees to everything: it follows
// redirects, keeps cookies, and posts each form that it is shown.
type browser struct {
	http  *http.Client
	types map[string]string // what it types into fields, by their names
}

func newBrowser(types map[string]string) (*browser, error) {
	jar, err := cookiejar.New(nil)
	if err != nil {
		return nil, err
	}
	return &browser{&http.Client{Jar: jar}, types}, nil
}

// visit goes to a page, and on from there until no form is left to post.
func (b *browser) visit(ctx context.Context, address string) error {
	const most = 10 // pages; a form that comes again and again is not content
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	for range most {
		if err != nil {
			return err
		}
		at, page, err := b.open(req)
		if err != nil {
			return err
		}
		f, ok := findForm(page)
		if !ok {
			return nil
		}
		if req, err = f.post(ctx, at, b.types); err != nil {
			return err
		}
	}
	return fmt.Errorf("browser: still at a form after %d pages", most)
}

// open loads a page. Where it was in the end is where its links count from.
func (b *browser) open(req *http.Request) (*url.URL, string, error) {
	resp, err := b.http.Do(req)
	if err != nil {
		return nil, "", fmt.Errorf("browser: %w", err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("browser: %s says %s", resp.Request.URL.Path, resp.Status)
	}
	return resp.Request.URL, string(body), err
}

// A form is what a page wants posted.
type form struct {
	action string
	fields url.Values
}

// findForm reads the first form of a page. The pages are the servers' own, and
// as plain as can be: regular expressions will do.
func findForm(page string) (form, bool) {
	tag := regexp.MustCompile(`(?s)<form\b([^>]*)>(.*?)</form>`).FindStringSubmatch(page)
	if tag == nil {
		return form{}, false
	}
	f := form{attributes(tag[1])["action"], url.Values{}}
	for _, input := range regexp.MustCompile(`(?s)<input\b([^>]*)>`).FindAllStringSubmatch(tag[2], -1) {
		a := attributes(input[1])
		f.fields.Set(a["name"], a["value"])
	}
	return f, true
}

// attributes reads name="value" pairs of a tag.
func attributes(tag string) map[string]string {
	all := map[string]string{}
	for _, a := range regexp.MustCompile(`([\w-]+)="([^"]*)"`).FindAllStringSubmatch(tag, -1) {
		all[a[1]] = html.UnescapeString(a[2])
	}
	return all
}

// post fills the form in.
func (f form) post(ctx context.Context, at *url.URL, types map[string]string) (*http.Request, error) {
	for name, value := range types {
		if f.fields.Has(name) && f.fields.Get(name) == "" {
			f.fields.Set(name, value)
		}
	}
	if f.fields.Has("user_code") && f.fields.Get("user_code") == "" {
		return nil, errors.New("browser: there is no code to type")
	}
	action, err := at.Parse(f.action)
	if err != nil {
		return nil, fmt.Errorf("browser: form: %w", err)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, action.String(), strings.NewReader(f.fields.Encode()))
	if err == nil {
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	return req, err
}
