package caddybackup

import (
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddy-backup/caddy-backup/backup"
	"github.com/caddy-backup/caddy-backup/internal/setting"
)

var errBadPublicURL = errors.New("bad public_url value: must be the address of the page, such as https://backups.example.com")

// configureNotifiers loads the notifiers, in the order of their names.
func (a *App) configureNotifiers(ctx caddy.Context) (err error) {
	if a.config.PublicURL, err = setting.Resolve("public_url", a.PublicURL); err != nil {
		return err
	}
	if a.config.PublicURL != "" {
		if err := checkPublicURL(a.config.PublicURL); err != nil {
			return err
		}
	}
	if len(a.Notifiers) == 0 {
		return nil
	}
	names := slices.Sorted(maps.Keys(a.Notifiers))
	for _, name := range names {
		if err := checkName("notifier", name); err != nil {
			return err
		}
		if err := needsKey(a.Notifiers[name], "notifier", "kind"); err != nil {
			return fmt.Errorf("notifier %s: %w", name, err)
		}
	}
	loaded, err := ctx.LoadModule(a, "Notifiers")
	if err != nil {
		return fmt.Errorf("notifiers: %w", err)
	}
	modules := loaded.(map[string]any)
	for _, name := range names {
		n, ok := modules[name].(backup.Notifier)
		if !ok {
			return fmt.Errorf("notifier %s: %T is not a notifier of backups", name, modules[name])
		}
		kind := modules[name].(caddy.Module).CaddyModule().ID.Name()
		a.config.Notifiers = append(a.config.Notifiers, backup.NamedNotifier{Name: name, Kind: kind, Notifier: n})
	}
	return nil
}

// validateNotify refuses a job that tells nobody, or of nothing.
func (a *App) validateNotify(j backup.Job) error {
	if err := backup.CheckDownloadFormat(j.DownloadFormat); err != nil {
		return err
	}
	if len(j.MailTo) > 0 && len(a.config.Mailers(j)) == 0 {
		return backup.ErrNoMailer
	}
	for _, to := range j.MailTo {
		if err := backup.CheckMailAddress(to); err != nil {
			return fmt.Errorf("mail_to: %w", err)
		}
	}
	for _, sub := range j.Notify {
		for _, name := range sub.Notifiers {
			if !slices.ContainsFunc(a.config.Notifiers, func(n backup.NamedNotifier) bool { return n.Name == name }) {
				return fmt.Errorf("there is no notifier %s: add it to the global backup block with a line such as: "+
					"notifier %s webhook https://example.com/hook", name, name)
			}
		}
		for _, event := range sub.On {
			if !slices.Contains(backup.Events, event) {
				return fmt.Errorf("unknown event '%s': must be one of %s", event, eventNames())
			}
		}
	}
	return nil
}

// warnOfSilence tells of notifiers that no job uses: whoever wrote them believes that he would be told.
func (a *App) warnOfSilence() {
	for _, n := range a.config.Notifiers {
		used := slices.ContainsFunc(a.jobsNow(), func(j backup.Job) bool {
			if _, mails := n.Notifier.(backup.Mailer); mails && len(j.MailTo) > 0 {
				return true
			}
			return slices.ContainsFunc(j.Notify, func(s backup.Subscription) bool { return slices.Contains(s.Notifiers, n.Name) })
		})
		if !used {
			a.log.Warn("notifier " + n.Name + " is told nothing: no job names it; add to jobs the line: notify " + n.Name)
		}
	}
}
