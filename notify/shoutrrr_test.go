package notify_test

import (
	"context"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddy-backup/caddy-backup/notify"
)

// TestShoutrrr: what services of the library send arrives at a real server.
func TestShoutrrr(t *testing.T) {
	for _, c := range []struct{ name, url, path, inBody string }{
		{"ntfy", "ntfy://HOST/topic?scheme=http", "/topic", "Reason: gone"},
		{"generic", "generic+http://HOST/" + canary + "?template=json", "/" + canary, "Reason: gone"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newSite(t, func(w http.ResponseWriter, _ *http.Request) { w.Write([]byte("{}")) })
			n := provision(t, &notify.Shoutrrr{URL: strings.Replace(c.url, "HOST", s.Listener.Addr().String(), 1)})
			if err := n.Deliver(t.Context(), failed); err != nil {
				t.Fatal(err)
			}
			if len(s.got) != 1 || s.got[0].URL.Path != c.path || !strings.Contains(s.bodies[0], c.inBody) {
				t.Errorf("got %v, %q", s.got, s.bodies)
			}
		})
	}
}

// TestShoutrrrRefused: no error shows the URL, and an attempt that hangs is left behind, once.
func TestShoutrrrRefused(t *testing.T) {
	release := make(chan struct{})
	slow := newSite(t, func(http.ResponseWriter, *http.Request) { <-release })
	broken := newSite(t, status(500))
	for _, c := range []struct {
		name, address, want string
		limit               time.Duration
	}{
		{"500", broken.Listener.Addr().String(), "answer is 500", time.Minute},
		{"dead", closedAddress(t), "connection refused", time.Minute},
		{"slow", slow.Listener.Addr().String(), "no answer in time", 300 * time.Millisecond},
	} {
		n := provision(t, &notify.Shoutrrr{URL: "generic+http://" + c.address + "/" + canary})
		ctx, cancel := context.WithTimeout(t.Context(), c.limit)
		defer cancel()
		err := n.Deliver(ctx, failed)
		if err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), canary) {
			t.Errorf("%s: got %v, want %s", c.name, err, c.want)
		}
		if c.name == "slow" {
			if err := n.Deliver(t.Context(), failed); err == nil || !strings.Contains(err.Error(), "still hangs") {
				t.Errorf("%s: then %v", c.name, err)
			}
		}
	}
	close(release)
	http.DefaultClient.CloseIdleConnections()
}

func TestShoutrrrConfig(t *testing.T) {
	t.Setenv("CHAT_UNSET", "")
	for _, c := range []struct{ url, want string }{
		{"", "bad url value"}, {canary, "bad url value"}, {canary + "://x", "bad url value"}, {"pigeon://" + canary, "no service 'pigeon'"},
		{"smtp://u:" + canary + "@example.com", "use the kind email"}, {"{env.CHAT_UNSET}", "is empty; set the variable"},
		{"slack://" + canary + "@x", ""},
	} {
		err := (&notify.Shoutrrr{URL: c.url}).Provision(caddy.Context{})
		if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), canary)) {
			t.Errorf("%q: got %v, want %q", c.url, err, c.want)
		}
	}
}
