package backup_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddy-backup/caddy-backup/backup"
	"github.com/caddy-backup/caddy-backup/backup/backuptest"
)

// postman is an inbox that takes mails.
type postman struct {
	inbox
	enclosed backup.Enclosed
}

func (p *postman) Enclose(context.Context, backup.Notification) backup.Enclosed { return p.enclosed }
func (*postman) AttemptTime(backup.Notification) time.Duration                  { return time.Minute }

// with adds notifiers.
func with(notifiers ...backup.NamedNotifier) func(*backup.Config) {
	return func(c *backup.Config) { c.Notifiers = append(c.Notifiers, notifiers...) }
}

// mailTo gives the job "shop" further addresses.
func mailTo(addresses ...string) func(*backup.Config) {
	return func(c *backup.Config) { c.Jobs[0].MailTo = addresses }
}

// TestMailTo: the addresses of a job go with what its Mailers are told; one that it need not name is told as well.
func TestMailTo(t *testing.T) {
	alice := "alice@example.com"
	for _, c := range []struct {
		name   string
		notify []backup.Subscription
		want   string // who is told
	}{
		{"the only one", nil, "mail"},
		{"named", []backup.Subscription{{Notifiers: []string{"chat", "mail"}}}, "chat mail"},
		{"another is named", []backup.Subscription{{Notifiers: []string{"chat"}}}, "chat mail"},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var chat inbox
				var mail postman
				e := backuptest.New(t, mailTo(alice), with(backup.NamedNotifier{Name: "chat", Notifier: &chat}, backup.NamedNotifier{Name: "mail", Notifier: &mail}),
					func(c2 *backup.Config) { c2.Jobs[0].Notify = c.notify })
				e.DB.Fail(errors.New("the database is gone"))
				e.RunBackup(t, "shop")
				synctest.Wait()
				var told []string
				for _, n := range must(e.Notifiers(t.Context()))(t) {
					if len(n.Jobs) > 0 {
						told = append(told, n.Name)
					}
				}
				if got := strings.Join(told, " "); got != c.want || mail.events() != "failure" {
					t.Errorf("told %s; the mailer of %s", got, mail.events())
				}
				if !slices.Equal(mail.list[0].MailTo, []string{alice}) {
					t.Errorf("to %q", mail.list[0].MailTo)
				}
			})
		})
	}
}

// TestMailToRefused: what nobody could send is an error at once.
func TestMailToRefused(t *testing.T) {
	two := with(backup.NamedNotifier{Name: "a", Notifier: &postman{}}, backup.NamedNotifier{Name: "b", Notifier: &postman{}})
	for _, c := range []struct {
		changes []func(*backup.Config)
		want    string
	}{
		{[]func(*backup.Config){mailTo("a@example.com")}, "who sends the mails"},
		{[]func(*backup.Config){mailTo("a@example.com"), with(backup.NamedNotifier{Name: "chat", Notifier: &inbox{}})}, "who sends the mails"},
		{[]func(*backup.Config){mailTo("a@example.com"), two}, "who sends the mails"},
		{[]func(*backup.Config){mailTo("alice"), two, func(c *backup.Config) { c.Jobs[0].Notify = []backup.Subscription{{Notifiers: []string{"b"}}} }}, "bad mail address 'alice'"},
		{[]func(*backup.Config){mailTo("a@example.com\r\nBcc: b@example.com")}, "bad mail address"},
		{[]func(*backup.Config){func(c *backup.Config) { c.Jobs[0].DownloadFormat = "rar" }}, "must be one of none, gz, bz2, zst"},
	} {
		e := backuptest.New(t)
		next := e.Config
		next.Jobs = slices.Clone(next.Jobs)
		for _, change := range c.changes {
			change(&next)
		}
		if _, err := e.Attach(next); !errors.Is(err, backup.ErrInvalid) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("got %v, want %s", err, c.want)
		}
	}
}
