package caddybackup

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"

	"github.com/caddy-backup/caddy-backup/backup"
)

func kitCommand() *cobra.Command {
	var show, confirm bool
	cmd := &cobra.Command{
		Use:   "kit",
		Short: "Prints the recovery kit, to be kept on paper or on another machine",
		Long: `Prints, as plain text of 80 columns, what it takes to get everything back on another machine: where the repositories
are, what is in them, and the commands, with Caddy and with restic alone. There is a line to write the password on;
--show-password prints it instead. Where a password comes from the configuration, that needs --standalone.

Until somebody confirms with --confirm that the kit was saved, the log and the page ask for it where the password was
generated. A new password asks again.`,
		Args: cobra.NoArgs,
		RunE: action(func(ctx context.Context, s *session, _ []string) error {
			if confirm {
				return s.confirmKit(ctx)
			}
			kit, err := s.Kit(ctx, s.repository)
			if err != nil {
				return err
			}
			if s.json {
				return s.printJSON(kit)
			}
			return s.printKit(kit, show)
		}),
	}
	cmd.Flags().BoolVar(&show, "show-password", false, "Print the passwords, too")
	cmd.Flags().BoolVar(&confirm, "confirm", false, "Say that the kit was saved")
	cmd.MarkFlagsMutuallyExclusive("show-password", "confirm")
	return cmd
}

func (s *session) printKit(kit backup.Kit, show bool) error {
	passwords := map[string]string{}
	for _, r := range kit.Repositories {
		if r.Problem != "" {
			s.note("warning: repository %s: %s", r.Name, printable(r.Problem))
		}
		if !show {
			continue
		}
		password, err := passwordOf(r)
		if err != nil {
			return fmt.Errorf("password of repository %s: %w", r.Name, err)
		}
		passwords[r.Name] = string(password)
	}
	_, err := io.WriteString(s.out, kit.Text(passwords))
	return err
}

// passwordOf reads a password on this machine: no server gives it out.
func passwordOf(r backup.KitRepository) ([]byte, error) {
	if r.PasswordFile != "" {
		data, err := os.ReadFile(r.PasswordFile)
		return bytes.TrimRight(data, "\r\n"), err
	}
	if service := activeService(); service != nil { // of this process: with --standalone
		return service.Password(r.Name)
	}
	if r.PasswordFrom == "" {
		return nil, errors.New("it was generated, and its file in Caddy's data directory is gone: look for a copy of the recovery kit; caddy backup doctor says more")
	}
	return nil, fmt.Errorf("it comes from %s: look there, or add --standalone and --config, with which the configuration is read here",
		r.PasswordFrom)
}

func (s *session) confirmKit(ctx context.Context) error {
	names := []string{s.repository}
	if s.repository == "" {
		all, err := s.Repositories(ctx)
		if err != nil {
			return err
		}
		names = nil
		for _, r := range all {
			names = append(names, r.Name)
		}
	}
	for _, name := range names {
		if err := s.ConfirmKit(ctx, name); err != nil {
			return err
		}
		s.note("the recovery kit of repository %s is saved: nobody is asked again until a password changes", name)
	}
	return nil
}
