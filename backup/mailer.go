package backup

import (
	"context"
	"errors"
	"fmt"
	netmail "net/mail"
	"slices"
	"strings"
	"time"
)

// Mailer is a Notifier that sends mails: to further addresses than its own (Notification.MailTo), and with the dump in them
// (Notification.Dump).
type Mailer interface {
	Notifier
	// Enclose finds out what a mail would bring of the dump now. It sends nothing.
	Enclose(ctx context.Context, n Notification) Enclosed
	// AttemptTime is how long one attempt may take.
	AttemptTime(n Notification) time.Duration
}

// ErrNoMailer is a job with MailTo without a Mailer to reach it.
var ErrNoMailer = errors.New("mail_to: it is open who sends the mails: add a notifier of the kind email, or, where there are several, " +
	"name one of them with notify")

// EventMail is the event of what somebody asked to be mailed. No job can ask to be told of it.
const EventMail Event = "mail"

// Enclosed is what a mail brings of a dump.
type Enclosed struct {
	Attached    []string `json:"attached"`               // names of files
	NotAttached string   `json:"not_attached,omitempty"` // why there are none
	LinksUntil  string   `json:"links_until,omitempty"`  // when the links in it expire, RFC 3339; empty: it has none
}

// DownloadFormats are the forms in which a job's files can be downloaded and mailed: "none" as they are, else compressed.
var DownloadFormats = []string{"none", "gz", "bz2", "zst"}

// CheckDownloadFormat refuses what is none of DownloadFormats; "" is "none".
func CheckDownloadFormat(s string) error {
	if s != "" && !slices.Contains(DownloadFormats, s) {
		return fmt.Errorf("bad download_format value '%s': must be one of %s", s, strings.Join(DownloadFormats, ", "))
	}
	return nil
}

// CheckMailAddress refuses what is not the address of one mailbox.
func CheckMailAddress(s string) error {
	if _, err := netmail.ParseAddress(s); err != nil {
		return fmt.Errorf("bad mail address '%s': must be as in ops@example.com", s)
	}
	return nil
}

// Mailers are those that a job names in Notify; when it names none, the only one that there is, else none.
func (c *Config) Mailers(j Job) (found []NamedNotifier) {
	var all []NamedNotifier
	for _, n := range c.Notifiers {
		if _, mails := n.Notifier.(Mailer); !mails {
			continue
		}
		all = append(all, n)
		if slices.ContainsFunc(j.Notify, func(sub Subscription) bool { return slices.Contains(sub.Notifiers, n.Name) }) {
			found = append(found, n)
		}
	}
	if len(found) == 0 && len(all) == 1 {
		return all
	}
	return found
}

// checkMails refuses addresses that nothing would write to, and has a job that has addresses, but names no Mailer, tell
// the only one that there is.
func (s *setup) checkMails() error {
	for i := range s.Jobs {
		j := &s.Jobs[i]
		if err := CheckDownloadFormat(j.DownloadFormat); err != nil {
			return fmt.Errorf("%w: job %q: %w", ErrInvalid, j.Name, err)
		}
		for _, to := range j.MailTo {
			if err := CheckMailAddress(to); err != nil {
				return fmt.Errorf("%w: job %q: mail_to: %w", ErrInvalid, j.Name, err)
			}
		}
		if len(j.MailTo) == 0 {
			continue
		}
		by := s.Mailers(*j)
		if len(by) == 0 {
			return fmt.Errorf("%w: job %q: %w", ErrInvalid, j.Name, ErrNoMailer)
		}
		if len(by) == 1 && len(j.wants(by[0])) == 0 {
			j.Notify = append(slices.Clip(j.Notify), Subscription{Notifiers: []string{by[0].Name}})
		}
	}
	return nil
}

// DownloadFormat is the form in which the files of a job are downloaded: "gz", "bz2", "zst", or "" as they are, also for a
// job that is not configured any more.
func (s *Service) DownloadFormat(job string) string {
	c, err := s.current()
	if err != nil {
		return ""
	}
	return c.downloadFormat(job)
}

func (s *setup) downloadFormat(job string) string {
	j, err := s.job(job)
	if err != nil || j.DownloadFormat == "none" {
		return ""
	}
	return j.DownloadFormat
}

// forMail adds to a notification what a Mailer needs.
func (s *Service) forMail(c *setup, n Notification) Notification {
	for _, j := range c.concerned(n) {
		n.MailTo = append(n.MailTo, without(j.MailTo, n.MailTo)...)
	}
	if n.Snapshot != "" && n.Event != EventDrill {
		n.Dump = &Dump{Format: c.downloadFormat(n.Job), service: s, snapshot: n.Snapshot, where: n.Repository, job: n.Job}
	}
	return n
}
