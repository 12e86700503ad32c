package notify

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strings"
	"syscall"

	"github.com/caddy-backup/caddy-backup/backup"
)

// What the notifiers look at before anything has happened: as much as raises no alarm and sends nothing.

func diagnosis(level backup.Level, format string, args ...any) []backup.Diagnosis {
	return []backup.Diagnosis{{Level: level, Text: fmt.Sprintf(format, args...)}}
}

// Examine connects to the server and looks at its certificate. It sends no request: some hooks take any for a notification.
func (w *Webhook) Examine(ctx context.Context, _ *backup.Task) []backup.Diagnosis {
	return examineSite(ctx, w.address)
}

// Examine connects to the server and looks at its certificate. It sends no request: any would be a ping.
func (h *Healthchecks) Examine(ctx context.Context, _ *backup.Task) []backup.Diagnosis {
	return examineSite(ctx, h.address)
}

func examineSite(ctx context.Context, u *url.URL) []backup.Diagnosis {
	if proxy, err := http.ProxyFromEnvironment(&http.Request{URL: u}); err == nil && proxy != nil {
		if err := reach(ctx, proxy.Scheme == "https", proxy.Hostname(), portOf(proxy)); err != nil {
			return diagnosis(backup.LevelError, "the proxy of the environment (HTTPS_PROXY): %v", err)
		}
		return diagnosis(backup.LevelNote, "the proxy %s answers; whether %s does behind it only a test shows", proxy.Host, u.Host)
	}
	at := net.JoinHostPort(u.Hostname(), portOf(u))
	if err := reach(ctx, u.Scheme == "https", u.Hostname(), portOf(u)); err != nil {
		return diagnosis(backup.LevelError, "%v", err)
	}
	if u.Scheme == "https" {
		return diagnosis(backup.LevelOK, "%s answers, its certificate is good", at)
	}
	return diagnosis(backup.LevelOK, "%s answers, without TLS", at)
}

func portOf(u *url.URL) string {
	switch {
	case u.Port() != "":
		return u.Port()
	case u.Scheme == "https":
		return "443"
	}
	return "80"
}

// reach looks whether somebody listens at an address, and whether the certificate is good when it should have one.
func reach(ctx context.Context, encrypted bool, host, port string) error {
	at := net.JoinHostPort(host, port)
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", at)
	if err == nil {
		defer conn.Close()
		if encrypted {
			err = tls.Client(conn, &tls.Config{ServerName: host, MinVersion: tls.VersionTLS12}).HandshakeContext(ctx)
		}
	}
	if err != nil {
		return fmt.Errorf("%s: %w%s", at, bare(err), wayOut(err, webHints))
	}
	return nil
}

// bare is an error of the network without the address, which stands before it already.
func bare(err error) error {
	if outer, ok := errors.AsType[*net.OpError](err); ok && outer.Err != nil {
		return outer.Err
	}
	return err
}

// hint is what to do about an error in whose text these words are.
type hint struct{ words, way string }

var webHints = []hint{
	{"connection refused", "nobody listens there: is the server up, and the url of the notifier right?"},
	{"no such host", "look at the url of the notifier, and at the name server (/etc/resolv.conf)"},
	{"does not look like a TLS handshake", "no TLS is spoken there: correct the port of the url, or write http://"},
	{"certificate", "this machine does not trust the certificate: correct the host of the url, renew the certificate, or have its authority " +
		"trusted here (update-ca-certificates)"},
	{"i/o timeout", "there is no answer: is a firewall between?"},
	{"deadline", "there is no answer: is a firewall between?"},
	{"no answer", "is a firewall between?"},
}

// wayOut is the first hint that fits, behind a semicolon; "" when none does.
func wayOut(err error, hints []hint) string {
	if errors.Is(err, syscall.ECONNREFUSED) {
		return "; " + hints[0].way
	}
	for _, h := range hints {
		if strings.Contains(err.Error(), h.words) {
			return "; " + h.way
		}
	}
	return ""
}

// Interface guards
var (
	_ backup.Examiner = (*Webhook)(nil)
	_ backup.Examiner = (*Healthchecks)(nil)
	_ backup.Examiner = (*Email)(nil)
	_ backup.Examiner = (*Shoutrrr)(nil)
)
