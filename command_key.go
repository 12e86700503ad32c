package caddybackup

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/caddy-backup/caddy-backup/backup"
)

func keyCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "key",
		Short: "Lists, adds, removes and changes the passwords of a repository",
		Long: `Lists, adds, removes and changes the passwords that open a repository.

New passwords are asked for on the terminal, or read from the first line of --new-password-file. They are never
arguments: those can be read by every user of the machine.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(keyListCommand(), keyAddCommand(), keyRemoveCommand(), keyPasswdCommand())
	return cmd
}

func keyListCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "list",
		Short: "Lists the passwords that open the repository, by the IDs of their keys",
		Args:  cobra.NoArgs,
		RunE: action(func(ctx context.Context, s *session, _ []string) error {
			keys, err := s.Keys(ctx, s.repository)
			if err != nil {
				return err
			}
			if s.json {
				return s.printJSON(keys)
			}
			return s.printKeys(ctx, keys)
		}),
	}
}

// printKeys marks the key that our password opens with a star, as restic does.
func (s *session) printKeys(ctx context.Context, keys []backup.Key) error {
	var t table
	clock := s.clock(ctx)
	t.row(" ID", "USER", "HOST", "CREATED")
	for _, k := range keys {
		mark := " "
		if k.Current {
			mark = "*"
		}
		if k.Damaged != "" {
			t.row(mark+k.ID.Short(), "damaged: "+printable(k.Damaged))
			continue
		}
		t.row(mark+k.ID.Short(), printable(k.Username), printable(k.Hostname), clock.of("", k.Created))
	}
	return t.write(s.out)
}

func keyAddCommand() *cobra.Command {
	var file string
	cmd := &cobra.Command{
		Use:   "add",
		Short: "Adds a password",
		Args:  cobra.NoArgs,
		RunE: action(func(ctx context.Context, s *session, _ []string) error {
			password, err := s.newPassword(file)
			if err != nil {
				return err
			}
			run, err := s.AddKey(ctx, s.repository, password)
			return s.changed(ctx, run, err)
		}),
	}
	addNewPasswordFlag(cmd, &file)
	return cmd
}

func keyRemoveCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "remove <id>",
		Short: "Removes a password, but never the one in use",
		Args:  cobra.ExactArgs(1),
		RunE: action(func(ctx context.Context, s *session, args []string) error {
			run, err := s.RemoveKey(ctx, s.repository, args[0])
			return s.changed(ctx, run, err)
		}),
	}
}

func keyPasswdCommand() *cobra.Command {
	var file string
	var generate bool
	cmd := &cobra.Command{
		Use:   "passwd",
		Short: "Changes the password in use",
		Long: `Puts a new password in the place of the one in use. The new one is proved to open the repository before the old
one goes. A password that was generated is replaced in its file; one of the configuration is yours to change there.`,
		Args: cobra.NoArgs,
		RunE: action(func(ctx context.Context, s *session, _ []string) error {
			var password []byte
			var err error
			if !generate {
				if password, err = s.newPassword(file); err != nil {
					return err
				}
			}
			run, err := s.ChangePassword(ctx, s.repository, password)
			return s.changed(ctx, run, err)
		}),
	}
	addNewPasswordFlag(cmd, &file)
	cmd.Flags().BoolVar(&generate, "generate", false, "Make a random one, where the old one was generated, too")
	cmd.MarkFlagsMutuallyExclusive("generate", "new-password-file")
	return cmd
}

func addNewPasswordFlag(cmd *cobra.Command, file *string) {
	cmd.Flags().StringVar(file, "new-password-file", "", "File with the new password (default: asked for on the terminal)")
}

// changed waits for a change of the keys and tells what came of it.
func (s *session) changed(ctx context.Context, run backup.Run, err error) error {
	if err == nil {
		run, err = s.follow(ctx, run)
	}
	if s.json && run.ID != "" {
		return errors.Join(s.printJSON(run), err)
	}
	if err == nil {
		fmt.Fprintln(s.out, printable(run.Summary))
	}
	return err
}

// newPassword reads the first line of a file, or asks twice on the terminal.
func (s *session) newPassword(file string) ([]byte, error) {
	if file == "" {
		return s.askPassword()
	}
	data, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("new password: %w", err)
	}
	line, ok := onlyLine(data)
	if !ok {
		return nil, fmt.Errorf("new password: %s must hold one line and nothing else", file)
	}
	return line, nil
}

// onlyLine is the one line that a password file holds, without its end.
func onlyLine(data []byte) (line []byte, ok bool) {
	line, rest, _ := bytes.Cut(data, []byte("\n"))
	line = bytes.TrimSuffix(line, []byte("\r"))
	return line, len(line) > 0 && len(bytes.TrimSpace(rest)) == 0
}

// askPassword asks twice on the terminal, without showing what is typed.
func (s *session) askPassword() ([]byte, error) {
	in := int(os.Stdin.Fd())
	if !term.IsTerminal(in) {
		return nil, errors.New("there is no terminal to ask for the new password on: give --new-password-file")
	}
	var typed [2]string
	for i, prompt := range []string{"New password: ", "Once more: "} {
		fmt.Fprint(s.err, prompt)
		line, err := term.ReadPassword(in)
		fmt.Fprintln(s.err)
		if err != nil {
			return nil, fmt.Errorf("new password: %w", err)
		}
		typed[i] = string(line)
	}
	if typed[0] != typed[1] {
		return nil, errors.New("the two passwords differ: nothing was changed")
	}
	if strings.TrimSpace(typed[0]) == "" {
		return nil, errors.New("an empty password opens nothing: nothing was changed")
	}
	return []byte(typed[0]), nil
}
