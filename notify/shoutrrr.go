package notify

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/nicholas-fedor/shoutrrr/pkg/router"
	"github.com/nicholas-fedor/shoutrrr/pkg/types"

	"github.com/caddy-backup/caddy-backup/backup"
	"github.com/caddy-backup/caddy-backup/internal/setting"
)

func init() { caddy.RegisterModule(new(Shoutrrr)) }

// Shoutrrr sends notifications to what the library of this name knows: Discord, Gotify, Matrix, ntfy, Slack, Telegram and
// many more, each by a URL of its own form, such as ntfy://ntfy.sh/topic.
type Shoutrrr struct {
	// The URL, as the library's documentation has it. Placeholders are replaced: it holds a token.
	URL string `json:"url,omitempty"`
	// A file with the template of the text, of Go's text/template over the fields of the notification. Default: "{{.Text}}".
	Template string `json:"template,omitempty"`

	text    *wording
	url     string // resolved: secret
	service string
	busy    chan struct{}
}

// CaddyModule tells Caddy about the notifier.
func (*Shoutrrr) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: namespace + "shoutrrr", New: func() caddy.Module { return new(Shoutrrr) }}
}

// UnmarshalCaddyfile reads
//
//	shoutrrr <url> {
//		template <file>
//	}
func (s *Shoutrrr) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // the module's name
	if !d.AllArgs(&s.URL) {
		return d.ArgErr()
	}
	for d.NextBlock(0) {
		if word := d.Val(); word != "template" {
			return d.Errf("unrecognized subdirective '%s'", word)
		}
		if err := setting.OneArg(d, &s.Template); err != nil {
			return err
		}
	}
	return nil
}

// Provision replaces the placeholders. It asks the library for no more than whether it knows the service: to read the whole
// URL, some of its services log in.
func (s *Shoutrrr) Provision(caddy.Context) (err error) {
	if s.url, err = setting.Resolve("url", s.URL); err != nil {
		return err
	}
	scheme, _, found := strings.Cut(s.url, "://")
	s.service, _, _ = strings.Cut(scheme, "+") // as in generic+https
	if !found || !plainWord.MatchString(s.service) {
		return errors.New("bad url value: must be one of shoutrrr's, such as ntfy://ntfy.sh/topic")
	}
	if s.service == "smtp" {
		return errors.New("bad url value: for mails use the kind email")
	}
	if _, err := new(router.ServiceRouter).NewService(s.service); err != nil {
		return fmt.Errorf("bad url value: shoutrrr knows no service '%s'", s.service)
	}
	s.busy = make(chan struct{}, 1)
	s.text, err = readWording(s.Template, nil)
	return err
}

var plainWord = regexp.MustCompile(`^[a-z]{1,20}$`)

// Deliver implements backup.Notifier.
func (s *Shoutrrr) Deliver(ctx context.Context, n backup.Notification) error {
	return s.plainly(s.alone(ctx, func() error { return s.send(n) }))
}

// alone waits for work of the library, which takes no context: what hangs is left behind, and until it ends there is no other.
func (s *Shoutrrr) alone(ctx context.Context, work func() error) error {
	select {
	case s.busy <- struct{}{}:
	default:
		return errHangs
	}
	result := make(chan error, 1)
	go func() {
		defer func() { <-s.busy }()
		err := errors.New("panic")
		defer func() {
			_ = recover() // what it says may hold the URL
			result <- err
		}()
		err = work()
	}()
	select {
	case err := <-result:
		return err
	case <-ctx.Done():
		return &lateError{ctx.Err()}
	}
}

var errHangs = errors.New("an earlier attempt still hangs")

// lateError is of work that was left behind.
type lateError struct{ error }

func (e *lateError) Error() string { return "no answer in time: " + e.error.Error() }
func (e *lateError) Unwrap() error { return e.error }

// send makes a service for each attempt: they keep what they were sent last.
func (s *Shoutrrr) send(n backup.Notification) error {
	to, err := new(router.ServiceRouter).Locate(s.url)
	if err != nil {
		return err
	}
	params := types.Params{}
	params.SetTitle(n.Title)
	return to.Send(s.text.sayOr(told{Notification: n}, n.Text), &params)
}

// plainly says of an error what holds no secret: the library's texts show URLs.
func (s *Shoutrrr) plainly(err error) error {
	if err == nil {
		return nil
	}
	if _, late := errors.AsType[*lateError](err); late || err == errHangs {
		return fmt.Errorf("%s: %w", s.service, err)
	}
	for _, known := range []string{"connection refused", "no such host", "i/o timeout", "network is unreachable", "certificate"} {
		if strings.Contains(err.Error(), known) {
			return fmt.Errorf("%s: %s", s.service, known)
		}
	}
	if status := statusCode.FindString(err.Error()); status != "" {
		return fmt.Errorf("%s: not taken, the answer is %s", s.service, status)
	}
	return fmt.Errorf("%s: not taken; see whether the url is as the documentation of shoutrrr has it", s.service)
}

var statusCode = regexp.MustCompile(`\b[345][0-9][0-9]\b`)

// Interface guards
var (
	_ backup.Notifier       = (*Shoutrrr)(nil)
	_ caddy.Provisioner     = (*Shoutrrr)(nil)
	_ caddyfile.Unmarshaler = (*Shoutrrr)(nil)
)
