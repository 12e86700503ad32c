package backup_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddy-backup/caddy-backup/backup"
	"github.com/caddy-backup/caddy-backup/backup/backuptest"
	"github.com/caddy-backup/caddy-backup/repo"
)

// TestMailAgain: a mail about a snapshot goes the way of all notifications, says which snapshot it is, and is another one each
// time.
func TestMailAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mail := postman{enclosed: backup.Enclosed{Attached: []string{"db.sql.gz"}}}
		var chat inbox
		e := backuptest.New(t, mailTo("alice@example.com"), with(backup.NamedNotifier{Name: "ops", Kind: "email", Notifier: &mail},
			backup.NamedNotifier{Name: "chat", Kind: "webhook", Notifier: &chat}), func(c *backup.Config) { c.PublicURL = "https://backups.example.com" })
		snap := e.Backed(t, "shop")
		mail.setAnswer(func(context.Context) error { return errors.New("nobody is at home") })
		report := must(e.Mail(t.Context(), "anna", backup.MailRequest{Snapshot: snap.ID[:10]}))(t)
		if report.Snapshot != snap.ID || report.Job != "shop" || len(report.Mails) != 1 || report.Mails[0].Notifier != "ops" || report.Mails[0].Attached[0] != "db.sql.gz" {
			t.Errorf("%+v", report)
		}
		time.Sleep(time.Second)
		if status := must(e.Notifiers(t.Context()))(t)[0]; status.Waiting != 1 || status.Error != "nobody is at home" {
			t.Errorf("%+v", status)
		}
		mail.setAnswer(nil)
		time.Sleep(time.Minute)
		must(e.Mail(t.Context(), "anna", backup.MailRequest{Snapshot: "latest", Job: "shop", To: "ops"}))(t)
		synctest.Wait()
		if mail.events() != "mail mail" || chat.events() != "" || mail.list[0].ID == mail.list[1].ID {
			t.Fatalf("mailed %s, chatted %s", mail.events(), chat.events())
		}
		n := mail.list[0]
		if n.Title != "backup of shop on shop-server of 2000-01-01 00:00 UTC" || n.Dump == nil || n.MailTo[0] != "alice@example.com" || n.Snapshot != snap.StableID ||
			n.Link != "https://backups.example.com/snapshots/"+snap.StableID || !strings.Contains(n.Text, "Snapshot:    "+snap.ID[:8]) {
			t.Errorf("%+v", n)
		}
	})
}

// TestMailAgainRefused: who cannot, and why.
func TestMailAgainRefused(t *testing.T) {
	chat := backup.NamedNotifier{Name: "chat", Kind: "webhook", Notifier: &inbox{}}
	a, b := backup.NamedNotifier{Name: "a", Notifier: &postman{}}, backup.NamedNotifier{Name: "b", Notifier: &postman{}}
	for _, c := range []struct {
		notifiers []backup.NamedNotifier
		q         backup.MailRequest
		is        error
		want      string
	}{
		{nil, backup.MailRequest{}, backup.ErrInvalid, "add a notifier of the kind email"},
		{[]backup.NamedNotifier{chat}, backup.MailRequest{}, backup.ErrInvalid, "add a notifier of the kind email"},
		{[]backup.NamedNotifier{chat}, backup.MailRequest{To: "chat"}, backup.ErrInvalid, "chat is a webhook, which sends no mails"},
		{[]backup.NamedNotifier{a, b}, backup.MailRequest{}, backup.ErrInvalid, "say one of: a, b"},
		{[]backup.NamedNotifier{a, b}, backup.MailRequest{To: "c"}, backup.ErrNotFound, "say one of: a, b"},
		{[]backup.NamedNotifier{a}, backup.MailRequest{Snapshot: "abcdef"}, repo.ErrNotFound, "abcdef"},
	} {
		e := backuptest.New(t, with(c.notifiers...))
		e.Backed(t, "shop")
		if c.q.Snapshot == "" {
			c.q.Snapshot = "latest"
		}
		if _, err := e.Mail(t.Context(), "anna", c.q); !errors.Is(err, c.is) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%+v: got %v, want %s", c.q, err, c.want)
		}
		if e.CanMail("shop") != (len(c.notifiers) == 1 && c.notifiers[0].Name == "a") {
			t.Errorf("%+v: can mail: %v", c.q, e.CanMail("shop"))
		}
	}
}

// TestLastMail: what is on its way when the configuration goes, and the Service with it, still knows its notifier.
func TestLastMail(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mail postman
		e := backuptest.New(t, with(backup.NamedNotifier{Name: "ops", Kind: "email", Notifier: &mail}))
		e.Backed(t, "shop")
		must(e.Mail(t.Context(), "anna", backup.MailRequest{Snapshot: "latest"}))(t)
		e.Detach()
		synctest.Wait()
		if mail.events() != "mail" {
			t.Errorf("mailed %q", mail.events())
		}
	})
}
