package handler

import (
	"context"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/caddy-backup/caddy-backup/backup"
)

// postman is a notifier that sends mails, nowhere.
type postman struct {
	sent     chan backup.Notification
	enclosed backup.Enclosed
}

func (p *postman) Deliver(_ context.Context, n backup.Notification) error { p.sent <- n; return nil }

func (p *postman) Enclose(context.Context, backup.Notification) backup.Enclosed { return p.enclosed }

func (*postman) AttemptTime(backup.Notification) time.Duration { return time.Minute }

// TestMailAgain: the button, the API and the client have a snapshot mailed and say what it brings; the button is there only
// for those who may, and only when somebody can.
func TestMailAgain(t *testing.T) {
	p := &postman{make(chan backup.Notification, 9), backup.Enclosed{Attached: []string{}, NotAttached: "it is larger than 10 MiB in the mail", LinksUntil: "2026-11-25T04:31:00Z"}}
	env := newEnv(t, func(c *backup.Config) {
		c.Notifiers = []backup.NamedNotifier{{Name: "ops", Kind: "email", Notifier: p}}
	})
	snap := env.Backed(t, "shop")
	server := mustSite(t, env.Service, "")
	page := server.URL + "/snapshots/" + snap.ID
	for user, may := range map[string]bool{"anna": true, "otto": false, "vera": false} {
		if there := strings.Contains(get(t, user, page).body, `action="../snapshots/`+snap.ID+`/mail"`); there != may {
			t.Errorf("%s sees the button: %v", user, there)
		}
	}
	a := as(t, "anna", "POST", page+"/mail", "")
	if a.status != 200 || !strings.Contains(a.body, "On its way") || !strings.Contains(a.body, "The dump is not attached: it is larger than 10 MiB in the mail.") ||
		!strings.Contains(a.body, "with links to download it") {
		t.Errorf("%d %s", a.status, a.body)
	}
	if n := <-p.sent; n.Event != backup.EventMail || n.Job != "shop" {
		t.Errorf("%+v", n)
	}
	p.enclosed = backup.Enclosed{Attached: []string{evilFile}}
	if a := as(t, "anna", "POST", page+"/mail", ""); a.status != 200 || strings.Contains(a.body, "<img src=x") || !strings.Contains(a.body, "with 1 file attached") {
		t.Errorf("%d %s", a.status, a.body)
	}
	a = as(t, "anna", "POST", server.URL+"/api/snapshots/latest/mail?job=shop", `{"to": "ops"}`)
	if a.status != 202 || !strings.Contains(a.body, `"mails":[{"notifier":"ops","attached":["`) {
		t.Errorf("%d %s", a.status, a.body)
	}
	client := &Client{Base: "http://x/", HTTP: &http.Client{Transport: InProcess(adminAPI(env.Service))}}
	report, err := client.Mail(t.Context(), backup.MailRequest{Snapshot: snap.ID})
	if err != nil || report.Snapshot != snap.ID || report.Mails[0].Notifier != "ops" {
		t.Errorf("%+v, %v", report, err)
	}
	if a := as(t, "anna", "POST", server.URL+"/api/snapshots/latest/mail", `{"to": "nobody"}`); a.status != 404 || !strings.Contains(a.body, "say one of: ops") {
		t.Errorf("%d %s", a.status, a.body)
	}
	none := newEnv(t)
	other := none.Backed(t, "shop")
	server = mustSite(t, none.Service, "")
	if strings.Contains(get(t, "anna", server.URL+"/snapshots/"+other.ID).body, "/mail") {
		t.Error("a button that leads nowhere")
	}
	if a := as(t, "anna", "POST", server.URL+"/api/snapshots/latest/mail", ""); a.status != 400 || !strings.Contains(a.body, "add a notifier of the kind email") {
		t.Errorf("%d %s", a.status, a.body)
	}
}
