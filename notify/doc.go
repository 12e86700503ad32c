// Package notify has the notifiers: how people are told of what happened to a job. Each is a guest module of Caddy below
// backup.notifiers, so that others can add their own; what they must keep to is written at backup.Notifier.
//
//	webhook       a POST of JSON, signed
//	healthchecks  pings to a dead man's switch
//	email         a mail by SMTP
//	shoutrrr      chats and push services, through the library of this name
//
// A notifier makes one attempt; when to try again is for package backup to say. Addresses, tokens and passwords are secrets:
// they are in no error and in no log.
package notify

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"time"

	"github.com/caddy-backup/caddy-backup/internal/setting"
)

// namespace is where the modules of this package are registered.
const namespace = "backup.notifiers."

// address reads a URL of the web, with its placeholders replaced. An error does not show it: it may hold a token.
func address(value string) (*url.URL, error) {
	value, err := setting.Resolve("url", value)
	if err != nil {
		return nil, err
	}
	u, err := url.Parse(value)
	if err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http" {
		return nil, errors.New("bad url value: must be an address such as https://example.com/path")
	}
	return u, nil
}

// patience is how long the other side may take, connecting included.
const patience = 20 * time.Second

// newClient makes a client that follows no redirects: a notification, and its signature, are for the address that was
// configured, and a redirected POST arrives without its body.
func newClient() *http.Client {
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.DisableKeepAlives = true // the next notification comes tomorrow
	return &http.Client{
		Transport:     transport,
		Timeout:       patience,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// post sends a request; only 2xx is success. Errors do not show its address, but for the host.
func post(client *http.Client, r *http.Request) error {
	r.Header.Set("User-Agent", "caddy-backup")
	resp, err := client.Do(r)
	if err != nil {
		if outer, ok := errors.AsType[*url.Error](err); ok {
			err = outer.Err // which leaves out the address
		}
		return fmt.Errorf("%s: %w", r.URL.Host, err)
	}
	defer resp.Body.Close()
	_, _ = io.CopyN(io.Discard, resp.Body, 64<<10)
	switch {
	case resp.StatusCode >= 300 && resp.StatusCode < 400:
		return fmt.Errorf("%s answers %d, a redirect: write the address that it leads to", r.URL.Host, resp.StatusCode)
	case resp.StatusCode < 200 || resp.StatusCode > 299:
		return fmt.Errorf("%s answers %d %s", r.URL.Host, resp.StatusCode, http.StatusText(resp.StatusCode))
	}
	return nil
}
