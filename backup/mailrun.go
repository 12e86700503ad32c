package backup

import (
	"cmp"
	"context"
	"crypto/rand"
	"fmt"
	"net/url"
	"strings"
	"time"
)

// MailRequest asks for the mail about a snapshot once more.
type MailRequest struct {
	Repository string `json:"repository,omitempty"`
	Snapshot   string `json:"-"`             // as for Snapshot
	Job        string `json:"job,omitempty"` // whose latest is meant
	To         string `json:"to,omitempty"`  // a notifier that is a Mailer; default: those of the job, see Config.Mailers
}

// MailReport says what is on its way.
type MailReport struct {
	Snapshot string     `json:"snapshot"` // its ID
	Job      string     `json:"job"`
	Mails    []SentMail `json:"mails"`
}

// SentMail is one mail on its way.
type SentMail struct {
	Notifier string `json:"notifier"`
	Enclosed
	Unknown bool `json:"unknown,omitempty"` // what it will bring: to find that out takes long
}

// previewTime is how long an answer waits for what a mail will bring.
const previewTime = time.Minute

// Mail sends the mail about a snapshot of a job, with the dump as it would come with a new one. It returns when the mails are
// on their way: what becomes of them Notifiers tells. ErrNotFound; ErrInvalid when nobody can send it.
func (s *Service) Mail(ctx context.Context, by string, q MailRequest) (MailReport, error) {
	x, err := s.Snapshot(ctx, q.Repository, q.Snapshot, q.Job)
	if err != nil {
		return MailReport{}, err
	}
	if x.Job == "" {
		return MailReport{}, fmt.Errorf("%w: snapshot %s was made by no job: nothing says what its parts are", ErrInvalid, x.ID[:8])
	}
	c, err := s.current()
	if err != nil {
		return MailReport{}, err
	}
	mailers, err := c.mailersFor(x.Job, q.To)
	if err != nil {
		return MailReport{}, err
	}
	n := newMail(c, x)
	report := MailReport{Snapshot: x.ID, Job: x.Job}
	for _, m := range mailers {
		report.Mails = append(report.Mails, s.preview(ctx, c, m, n))
	}
	for _, m := range mailers {
		s.send(m.Name, n, nil)
	}
	s.audit(by, "mail asked for", "snapshot", x.ID, "job", x.Job, "notifiers", len(mailers))
	return report, nil
}

// preview finds out what a mail will bring.
func (s *Service) preview(ctx context.Context, c *setup, m NamedNotifier, n Notification) SentMail {
	ctx, cancel := context.WithTimeout(ctx, previewTime)
	defer cancel()
	e := m.Notifier.(Mailer).Enclose(ctx, s.forMail(c, n))
	if ctx.Err() != nil {
		return SentMail{Notifier: m.Name, Enclosed: Enclosed{Attached: []string{}}, Unknown: true}
	}
	return SentMail{Notifier: m.Name, Enclosed: e}
}

// mailersFor are the Mailers that a mail about a job goes out by: the one named, or those of the job.
func (s *setup) mailersFor(job, name string) ([]NamedNotifier, error) {
	if name != "" {
		return s.mailerNamed(name)
	}
	j, _ := s.job(job) // one that is not configured any more names nobody
	found := s.Mailers(j)
	if len(found) == 0 {
		return nil, fmt.Errorf("%w: it is open who sends the mail; %s", ErrInvalid, s.existingMailers())
	}
	return found, nil
}

func (s *setup) mailerNamed(name string) ([]NamedNotifier, error) {
	for _, n := range s.Notifiers {
		if n.Name != name {
			continue
		}
		if _, mails := n.Notifier.(Mailer); !mails {
			return nil, fmt.Errorf("%w: notifier %s is a %s, which sends no mails; %s", ErrInvalid, name, n.Kind, s.existingMailers())
		}
		return []NamedNotifier{n}, nil
	}
	return nil, fmt.Errorf("%w: no notifier is named %q; %s", ErrNotFound, name, s.existingMailers())
}

func (s *setup) existingMailers() string {
	var names []string
	for _, n := range s.Notifiers {
		if _, mails := n.Notifier.(Mailer); mails {
			names = append(names, n.Name)
		}
	}
	if len(names) == 0 {
		return "add a notifier of the kind email to the configuration"
	}
	return "say one of: " + strings.Join(names, ", ")
}

// newMail is what a mail about a snapshot says.
func newMail(c *setup, x Snapshot) Notification {
	n := Notification{
		ID: x.ID[:16] + "-" + rand.Text(), Event: EventMail, Host: x.Host, Job: x.Job, Repository: x.Repository, Run: x.Run, State: StateOK,
		Started: x.Time.UTC(), Snapshot: x.StableID, Read: x.Size, New: x.Added,
	}
	for _, tag := range x.Tags {
		if tag == tagSuspect {
			n.State = StateSuspect
		}
	}
	if n.Link = c.link("snapshots", x.StableID); n.Link != "" {
		if repository := cmp.Or(x.Repository, DefaultRepository); repository != DefaultRepository {
			n.Link += "?" + url.Values{"repository": {repository}}.Encode()
		}
	}
	n.say(c.zoneOf(n.Job))
	return n
}

// CanMail reports whether a mail about a job would find somebody to send it.
func (s *Service) CanMail(job string) bool {
	c, err := s.current()
	if err != nil {
		return false
	}
	_, err = c.mailersFor(job, "")
	return err == nil
}
