package notify_test

import (
	"bytes"
	"encoding/json"
	netmail "net/mail"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddy-backup/caddy-backup/notify"
)

// templateFile is a file with a template.
func templateFile(t *testing.T, text string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "template")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// TestTemplates: what people are told is what their templates make of it.
func TestTemplates(t *testing.T) {
	t.Setenv("SMTP_PASSWORD", canary)
	p := newPost(t, false, roomy)
	e := mailTo(p, "off")
	e.Subject = `{{if eq .Event "failure"}}!! {{end}}{{.Job}} on bücher: {{.Error}}`
	e.Template = templateFile(t, "Run {{.Run}} is {{.State}}, read {{size .Read}}.{{with .Enclosed}}\n{{.}}{{end}}\n")
	if err := provision(t, e).Deliver(t.Context(), failed); err != nil {
		t.Fatal(err)
	}
	if got := openMail(t, p.mails[0]); got.subject != "!! shop on bücher: gone" || got.text != "Run run-1 is failed, read 0 B.\n" {
		t.Errorf("%q: %q", got.subject, got.text)
	}

	s := newSite(t)
	w := provision(t, &notify.Webhook{URL: s.URL, Secret: canary, Template: templateFile(t, `{"text": {{json .Text}}, "at": {{json .Ended}}}`)})
	if err := w.Deliver(t.Context(), failed); err != nil {
		t.Fatal(err)
	}
	var said struct{ Text string }
	if err := json.Unmarshal([]byte(s.bodies[0]), &said); err != nil || said.Text != failed.Text || s.got[0].Header.Get("Content-Type") != "application/json" {
		t.Errorf("%v: %s", err, s.bodies[0])
	}
	plain := provision(t, &notify.Webhook{URL: s.URL, Headers: map[string]string{"content-type": "text/plain"}, Template: templateFile(t, "{{.Title}}")})
	if err := plain.Deliver(t.Context(), failed); err != nil || s.bodies[1] != failed.Title || s.got[1].Header.Get("Content-Type") != "text/plain" {
		t.Errorf("%v: %s", err, s.bodies[1])
	}
	chat := provision(t, &notify.Shoutrrr{URL: "generic+" + s.URL, Template: templateFile(t, "{{.Job}}?!")})
	if err := chat.Deliver(t.Context(), failed); err != nil || !strings.Contains(s.bodies[2], "shop?!") {
		t.Errorf("%v: %s", err, s.bodies[2])
	}
}

// TestBadTemplates: what is wrong with a template is told when the configuration is loaded.
func TestBadTemplates(t *testing.T) {
	for _, c := range []struct{ subject, text, want string }{
		{"{{.Jobb}}", "", "bad subject value"},
		{"{{", "", "bad subject value"},
		{"", "{{.Dump.Format}}", "bad template value"},
		{"", "{{slice .Snapshot 0 999}}", "bad template value"},
		{"", "{{if}}", "bad template value"},
		{"", "{{nosuch .Job}}", "bad template value"},
	} {
		e := &notify.Email{SMTP: "localhost:25", From: "a@example.com", To: []string{"b@example.com"}, Subject: c.subject}
		if c.text != "" {
			e.Template = templateFile(t, c.text)
		}
		if err := e.Provision(caddy.Context{}); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%q %q: %v", c.subject, c.text, err)
		}
	}
	for path, want := range map[string]string{"/nowhere/template": "no such file", templateFile(t, ""): "is empty", "{env.NO_SUCH_TEMPLATE}": "template: "} {
		if err := (&notify.Shoutrrr{URL: "ntfy://ntfy.sh/topic", Template: path}).Provision(caddy.Context{}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", path, err)
		}
	}
	if err := (&notify.Webhook{URL: "http://localhost", Template: templateFile(t, `{"text": "{{.Output}}"}`)}).Provision(caddy.Context{}); err == nil || !strings.Contains(err.Error(), "makes no JSON") {
		t.Errorf("got %v", err)
	}
}

// TestNoForgedHeaders: whatever a database said, or a template made of it, a mail has the headers that we write and no more.
func TestNoForgedHeaders(t *testing.T) {
	t.Setenv("SMTP_PASSWORD", canary)
	p := newPost(t, false, roomy)
	for _, subject := range []string{"", "{{.Error}}", "{{.Error}}\r\nBcc: x@example.com", "{{/* nothing */}}"} {
		for _, evil := range []string{"gone\r\nBcc: eve@example.com\r\n\r\nnonsense", "gone\nX-Evil: 1", "\x00\x1b[2J\u2028\u0085", "\xff\xfe", strings.Repeat("ü long ", 400), "=?utf-8?q?=0D=0ABcc:_eve@example.com?="} {
			n := failed
			n.Error, n.Title = evil, "backup FAILED: "+evil
			e := mailTo(p, "off")
			e.Subject = subject
			if err := provision(t, e).Deliver(t.Context(), n); err != nil {
				t.Fatal(err)
			}
			m, err := netmail.ReadMessage(bytes.NewReader(p.mails[len(p.mails)-1].data))
			if err != nil {
				t.Fatal(err)
			}
			if m.Header.Get("Bcc") != "" || m.Header.Get("X-Evil") != "" || len(m.Header["Subject"]) != 1 || len(m.Header) != 11 || m.Header.Get("Subject") == "" {
				t.Errorf("%q of %q: %v", subject, evil, m.Header)
			}
		}
	}
}
