package notify

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/caddy-backup/caddy-backup/backup"
)

func init() { caddy.RegisterModule(new(Healthchecks)) }

// Healthchecks pings a check of healthchecks.io, or of a server like it, which raises the alarm when no ping comes: so it is
// also told of silence, when this machine is dead. By default it hears of start, success, failure and suspect.
type Healthchecks struct {
	// The check's address, such as https://hc-ping.com/<uuid>. Placeholders are replaced.
	URL string `json:"url,omitempty"`

	address *url.URL // resolved: secret
	client  *http.Client
}

// CaddyModule tells Caddy about the notifier.
func (*Healthchecks) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: namespace + "healthchecks", New: func() caddy.Module { return new(Healthchecks) }}
}

// UnmarshalCaddyfile reads
//
//	healthchecks <url>
func (h *Healthchecks) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // the module's name
	if !d.AllArgs(&h.URL) {
		return d.ArgErr()
	}
	if d.NextBlock(0) {
		return d.Errf("unrecognized subdirective '%s'", d.Val())
	}
	return nil
}

// Provision replaces the placeholders.
func (h *Healthchecks) Provision(caddy.Context) (err error) {
	h.address, err = address(h.URL)
	h.client = newClient()
	return err
}

// Events implements backup.EventChooser.
func (*Healthchecks) Events() []backup.Event {
	return []backup.Event{backup.EventStart, backup.EventSuccess, backup.EventFailure, backup.EventSuspect}
}

// tooLate is how late a success may come: the check counts its time from the ping on, and must not be silent for longer because
// one has waited for days.
const tooLate = 2 * time.Hour

// Deliver implements backup.Notifier. Only a good backup of now is a success: that a repository is whole again, or is pruned
// again, says nothing about the last backup.
func (h *Healthchecks) Deliver(ctx context.Context, n backup.Notification) error {
	to := h.address
	switch n.Event {
	case backup.EventStart:
		to = to.JoinPath("start")
	case backup.EventFailure, backup.EventSuspect, backup.EventOverdue, backup.EventDrill, backup.EventStalled, backup.EventDamage,
		backup.EventMaintenance:
		to = to.JoinPath("fail")
	case backup.EventTest:
		to = to.JoinPath("log") // is noted down, and changes nothing about the check
	case backup.EventSuccess, backup.EventRecovered:
		if n.Run == "" || !n.Queued.IsZero() && time.Since(n.Queued) > tooLate {
			to = to.JoinPath("log")
		}
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, to.String(), strings.NewReader(n.Text))
	if err != nil {
		return fmt.Errorf("%s: bad address", h.address.Host)
	}
	r.Header.Set("Content-Type", "text/plain; charset=utf-8")
	return post(h.client, r)
}

// Interface guards
var (
	_ backup.EventChooser   = (*Healthchecks)(nil)
	_ caddy.Provisioner     = (*Healthchecks)(nil)
	_ caddyfile.Unmarshaler = (*Healthchecks)(nil)
)
