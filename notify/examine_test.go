package notify_test

import (
	"context"
	"net"
	"net/http"
	"net/http/httptest"
	"path"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/emersion/go-smtp"

	"github.com/caddy-backup/caddy-backup/backup"
	"github.com/caddy-backup/caddy-backup/internal/realtest"
	"github.com/caddy-backup/caddy-backup/notify"
)

// examined wants a level and words of what a notifier says of itself, and no secret in it. Who says nothing has a second.
func examined(t *testing.T, x backup.Examiner, level backup.Level, want string) {
	t.Helper()
	limit := time.Minute
	if name := path.Base(t.Name()); name == "silent" || name == "no_such_host" {
		limit = time.Second
	}
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	list := x.Examine(ctx, &backup.Task{})
	text := ""
	for _, d := range list {
		text += string(d.Level) + ": " + d.Text + "\n"
	}
	if len(list) == 0 || backup.Worst(list) != level || !strings.Contains(text, want) {
		t.Errorf("want %s with %q:\n%s", level, want, text)
	}
	if strings.Contains(text, canary) {
		t.Errorf("a secret is told:\n%s", text)
	}
}

// TestEmailExamined breaks one thing at a time; no mail is sent.
func TestEmailExamined(t *testing.T) {
	t.Setenv("SMTP_PASSWORD", canary)
	t.Setenv("SMTP_WRONG", canary+"-wrong")
	plain := newPost(t, false, func(s *smtp.Server) { s.AllowInsecureAuth = true })
	starttls, implicit, none := newPost(t, false), newPost(t, true), newPost(t, false, func(s *smtp.Server) { s.TLSConfig = nil })
	relay, grey, closed := newPost(t, false), newPost(t, false), newPost(t, false)
	relay.strange = &smtp.SMTPError{Code: 554, EnhancedCode: smtp.EnhancedCode{5, 7, 1}, Message: "Relay access denied"}
	grey.strange = &smtp.SMTPError{Code: 450, EnhancedCode: smtp.EnhancedCode{4, 2, 0}, Message: "Greylisted"}
	closed.address = closedAddress(t)
	silent := &post{address: silentAddress(t), caFile: closed.caFile}
	with := func(p *post, mode string, change func(*notify.Email)) *notify.Email {
		e := mailTo(p, mode)
		if change != nil {
			change(e)
		}
		return provision(t, e)
	}
	for _, c := range []struct {
		name  string
		n     *notify.Email
		level backup.Level
		want  string
	}{
		{"starttls", with(starttls, "starttls", nil), backup.LevelOK, "by TLS, login works"},
		{"implicit", with(implicit, "implicit", nil), backup.LevelOK, "by TLS, login works"},
		{"off", with(plain, "off", nil), backup.LevelOK, "without TLS, login works"},
		{"wrong password", with(starttls, "starttls", func(e *notify.Email) { e.Password = "{env.SMTP_WRONG}" }), backup.LevelError, "correct username and password"},
		{"no STARTTLS", with(none, "starttls", nil), backup.LevelError, "write tls implicit"},
		{"no TLS", with(starttls, "implicit", nil), backup.LevelError, "write tls starttls"},
		{"certificate of another", with(starttls, "starttls", func(e *notify.Email) { e.CAFile = none.caFile }), backup.LevelError, "ca_file"},
		{"no relay", with(relay, "starttls", nil), backup.LevelError, "no mails are taken to b@example.com"},
		{"no relay", with(relay, "starttls", nil), backup.LevelError, "only for who logs in"},
		{"grey", with(grey, "starttls", nil), backup.LevelWarning, "Greylisted"},
		{"dead", with(closed, "starttls", nil), backup.LevelError, "nobody listens there"},
		{"silent", with(silent, "starttls", nil), backup.LevelError, "the server says nothing"},
	} {
		t.Run(c.name, func(t *testing.T) { examined(t, c.n, c.level, c.want) })
	}
	for _, p := range []*post{plain, starttls, implicit, none, relay, grey} {
		if len(p.mails) > 0 {
			t.Error("a mail was sent")
		}
	}
}

// TestSitesExamined: a connection is made, and no request.
func TestSitesExamined(t *testing.T) {
	s := newSite(t)
	secure := httptest.NewTLSServer(http.NotFoundHandler())
	secure.Config.ErrorLog = nil
	t.Cleanup(secure.Close)
	hook := func(url string) backup.Examiner {
		return provision(t, &notify.Webhook{URL: url + "/" + canary, Secret: canary, Headers: map[string]string{"Authorization": canary}})
	}
	plain, _ := strings.CutPrefix(s.URL, "http")
	for _, c := range []struct {
		name  string
		x     backup.Examiner
		level backup.Level
		want  string
	}{
		{"webhook", hook(s.URL), backup.LevelOK, s.Listener.Addr().String() + " answers, without TLS"},
		{"healthchecks", provision(t, &notify.Healthchecks{URL: s.URL + "/" + canary}), backup.LevelOK, "answers"},
		{"bad certificate", hook(secure.URL), backup.LevelError, "this machine does not trust the certificate"},
		{"no TLS", hook("https" + plain), backup.LevelError, "write http://"},
		{"dead", hook("http://" + closedAddress(t)), backup.LevelError, "nobody listens there"},
		{"no such host", hook("http://no-such-host.invalid"), backup.LevelError, "no-such-host.invalid"},
		{"silent", hook("https://" + silentAddress(t)), backup.LevelError, "is a firewall between?"},
		{"shoutrrr", chat(t, "generic+http://"+s.Listener.Addr().String()+"/"+canary), backup.LevelOK, "generic: " + s.Listener.Addr().String() + " answers"},
		{"dead chat", chat(t, "ntfy://:"+canary+"@"+closedAddress(t)+"/topic"), backup.LevelError, "nobody listens there"},
		{"half a url", chat(t, "discord://"+canary), backup.LevelError, "cannot use the url of discord"},
		{"a login refused", chat(t, "matrix://u:"+canary+"@"+s.Listener.Addr().String()+"/?disableTLS=yes"), backup.LevelError, "cannot use the url of matrix"},
		{"unknown server", chat(t, "logger://"), backup.LevelNote, "only a test shows"},
	} {
		t.Run(c.name, func(t *testing.T) { examined(t, c.x, c.level, c.want) })
	}
	for _, r := range s.got {
		if !strings.HasPrefix(r.URL.Path, "/_matrix") { // a login, which is what is looked at
			t.Errorf("%s %s was asked for", r.Method, r.URL)
		}
	}
	http.DefaultClient.CloseIdleConnections()
}

func chat(t *testing.T, url string) *notify.Shoutrrr {
	t.Helper()
	return provision(t, &notify.Shoutrrr{URL: url})
}

// closedAddress is one where nobody listens.
func closedAddress(t *testing.T) string {
	t.Helper()
	return net.JoinHostPort("127.0.0.1", strconv.Itoa(realtest.FreePort(t)))
}

// silentAddress is one where connections are taken, and nothing is ever said.
func silentAddress(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l.Addr().String()
}
