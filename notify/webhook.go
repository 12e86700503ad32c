package notify

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/caddy-backup/caddy-backup/backup"
	"github.com/caddy-backup/caddy-backup/internal/setting"
)

func init() { caddy.RegisterModule(new(Webhook)) }

// Webhook posts notifications as JSON; any answer of 2xx takes them. With a secret each bears the header
//
//	Backup-Signature: t=<Unix time>,v1=<hexadecimal HMAC-SHA256>
//
// over the time, a dot, and the body. Backup-Delivery is the same in all attempts of one notification.
type Webhook struct {
	// The address, https or http. Placeholders are replaced.
	URL string `json:"url,omitempty"`
	// The key of the signature. Placeholders are replaced. Default: no signature.
	Secret string `json:"secret,omitempty"`
	// Headers to add, such as Authorization. Placeholders are replaced.
	Headers map[string]string `json:"headers,omitempty"`
	// A file with the template of the body, of Go's text/template over the fields of the notification. It makes JSON, unless a
	// header says another Content-Type. Default: all fields as JSON.
	Template string `json:"template,omitempty"`

	body    *wording
	address *url.URL // resolved: may be secret, as all below
	secret  []byte
	headers http.Header
	client  *http.Client
}

// CaddyModule tells Caddy about the notifier.
func (*Webhook) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: namespace + "webhook", New: func() caddy.Module { return new(Webhook) }}
}

// UnmarshalCaddyfile reads
//
//	webhook <url> {
//		secret <key>
//		header <name> <value>
//		template <file>
//	}
func (w *Webhook) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // the module's name
	if !d.AllArgs(&w.URL) {
		return d.ArgErr()
	}
	for d.NextBlock(0) {
		switch word := d.Val(); word {
		case "secret":
			if err := setting.OneArg(d, &w.Secret); err != nil {
				return err
			}
		case "template":
			if err := setting.OneArg(d, &w.Template); err != nil {
				return err
			}
		case "header":
			var name, value string
			if !d.AllArgs(&name, &value) {
				return d.ArgErr()
			}
			if _, twice := w.Headers[name]; twice {
				return d.Errf("header %s already specified", name)
			}
			if w.Headers == nil {
				w.Headers = map[string]string{}
			}
			w.Headers[name] = value
		default:
			return d.Errf("unrecognized subdirective '%s'", word)
		}
	}
	return nil
}

// Provision replaces the placeholders.
func (w *Webhook) Provision(caddy.Context) (err error) {
	if w.address, err = address(w.URL); err != nil {
		return err
	}
	secret, err := setting.Resolve("secret", w.Secret)
	if err != nil {
		return err
	}
	w.secret = []byte(secret)
	w.headers = http.Header{}
	for name, value := range w.Headers {
		if value, err = setting.Resolve("header "+name, value); err != nil {
			return err
		}
		w.headers.Set(name, value)
	}
	w.client = newClient()
	var check func(string) error
	if w.headers.Get("Content-Type") == "" {
		w.headers.Set("Content-Type", "application/json")
		check = isJSON
	}
	w.body, err = readWording(w.Template, check)
	return err
}

func isJSON(text string) error {
	if !json.Valid([]byte(text)) {
		return errors.New("it makes no JSON: write values as {{json .Text}}, or say with a header which Content-Type it makes")
	}
	return nil
}

// Deliver implements backup.Notifier.
func (w *Webhook) Deliver(ctx context.Context, n backup.Notification) error {
	facts, err := json.Marshal(n)
	if err != nil {
		return err
	}
	body := []byte(w.body.sayOr(told{Notification: n}, string(facts)))
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, w.address.String(), bytes.NewReader(body))
	if err != nil {
		return fmt.Errorf("%s: bad address", w.address.Host)
	}
	for name, values := range w.headers {
		r.Header[name] = values
	}
	r.Header.Set("Backup-Event", string(n.Event))
	r.Header.Set("Backup-Delivery", n.ID)
	if len(w.secret) > 0 {
		r.Header.Set("Backup-Signature", sign(w.secret, time.Now(), body))
	}
	return post(w.client, r)
}

// sign binds a body to a time, so that who saw one cannot send it again tomorrow.
func sign(secret []byte, now time.Time, body []byte) string {
	t := strconv.FormatInt(now.Unix(), 10)
	mac := hmac.New(sha256.New, secret)
	mac.Write([]byte(t + "."))
	mac.Write(body)
	return "t=" + t + ",v1=" + hex.EncodeToString(mac.Sum(nil))
}

// Interface guards
var (
	_ backup.Notifier       = (*Webhook)(nil)
	_ caddy.Provisioner     = (*Webhook)(nil)
	_ caddyfile.Unmarshaler = (*Webhook)(nil)
)
