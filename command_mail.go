package caddybackup

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/caddy-backup/caddy-backup/backup"
)

func mailCommand() *cobra.Command {
	var q backup.MailRequest
	var cmd *cobra.Command
	cmd = &cobra.Command{
		Use:   "mail <snapshot>",
		Short: "Mails a snapshot once more",
		Long: `Sends the mail about a snapshot once more, as a new one would be told: with the dump attached, or with links to it, or
with the facts alone, as the notifier is configured. The snapshot is an ID, the beginning of one, or "latest" (of
--job). The server tries again what is not taken: GET notifiers of the API tells what becomes of it. With --standalone
there is one attempt.`,
		Args: cobra.ExactArgs(1),
		RunE: action(func(ctx context.Context, s *session, args []string) error {
			id, err := s.find(ctx, args[0], q.Job)
			if err != nil {
				return err
			}
			q.Repository, q.Snapshot = s.repository, id
			report, err := s.Mail(ctx, q)
			if err != nil {
				return err
			}
			if alone, _ := cmd.Flags().GetBool("standalone"); alone {
				if err := s.awaitMails(ctx, report); err != nil {
					return err
				}
			}
			if s.json {
				return s.printJSON(report)
			}
			for _, m := range report.Mails {
				fmt.Fprintf(s.out, "snapshot %s of %s is on its way by notifier %s%s\n", short(report.Snapshot), report.Job, m.Notifier, brings(m))
			}
			return nil
		}),
	}
	cmd.Flags().StringVar(&q.To, "to", "", "Notifier of the kind email (default: those of the job, or the only one)")
	addJobFlag(cmd, &q.Job)
	return cmd
}

// awaitMails waits until the mails are taken. Without a server nobody tries again later.
func (s *session) awaitMails(ctx context.Context, report backup.MailReport) error {
	for _, m := range report.Mails {
		for waiting := true; waiting; {
			all, err := s.Notifiers(ctx)
			if err != nil {
				return err
			}
			for _, n := range all {
				switch {
				case n.Name != m.Notifier:
				case n.Error != "":
					return fmt.Errorf("notifier %s did not take the mail: %s", n.Name, n.Error)
				default:
					waiting = n.Waiting > 0
				}
			}
			select {
			case <-time.After(50 * time.Millisecond):
			case <-ctx.Done():
				return context.Cause(ctx)
			}
		}
	}
	return nil
}

// brings says what a mail will bring of the dump.
func brings(m backup.SentMail) string {
	switch {
	case m.Unknown:
		return "; whether the dump can be attached is still being found out"
	case len(m.Attached) > 0:
		return ", attached: " + printable(strings.Join(m.Attached, ", "))
	}
	text := ", with the facts alone"
	if m.LinksUntil != "" {
		text = ", with links good until " + m.LinksUntil
	}
	if m.NotAttached != "" {
		text += "; the dump is not attached: " + printable(m.NotAttached)
	}
	return text
}
