package caddybackup

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"

	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	"github.com/spf13/cobra"

	"github.com/caddy-backup/caddy-backup/handler"
	"github.com/caddy-backup/caddy-backup/repo"
)

func init() {
	caddycmd.RegisterCommand(caddycmd.Command{
		Name:      "backup",
		Short:     "Backs up databases and folders, lists, checks and restores them",
		Long:      commandHelp,
		CobraFunc: addCommands,
	})
}

const commandHelp = `
Backs up the jobs of the configuration into repositories in restic's format,
and lists, checks and restores what lies in them.

The commands talk to the running server over its admin endpoint, as 'caddy
reload' does: --address says where it is, or --config which configuration to
take it from. With --standalone they do the work themselves, with the jobs and
repositories of --config (default: the Caddyfile in this folder): for the day
on which the server is gone. That works beside a running server, too.

Times are those of the job's timezone, else of the configuration's, else of
this machine; where this machine's clock shows another time, the offset from
UTC stands behind it. With --json they are in UTC.

Data goes to the standard output, messages and progress to the standard error.

Exit codes: 0 all is well; 1 failed; 3 some jobs failed, a backup is
suspect, or only a part could be done; 10 there is no repository; 11 the
repository is locked; 12 wrong password; 130 cancelled.
`

// The exit codes, restic's where it has one.
const (
	exitFailed        = 1
	exitPartly        = 3 // also a backup that is suspect
	exitNoRepository  = 10
	exitLocked        = 11
	exitWrongPassword = 12
	exitCancelled     = 130
)

func addCommands(root *cobra.Command) {
	flags := root.PersistentFlags()
	flags.StringP("config", "c", "", "Configuration file (if --address is not used)")
	flags.StringP("adapter", "a", "", "Name of config adapter to apply (if --config is used)")
	flags.String("address", "", "Address of the administration API listener")
	flags.Bool("standalone", false, "Do the work here, without a running server")
	flags.Bool("json", false, "Print what the API answers, as JSON")
	flags.StringP("repository", "r", "", "Name of the repository (default: the only one; of several all, or \"default\", as the command says)")
	root.DisableFlagsInUseLine = true
	// Without this an unknown command would print the help and succeed.
	root.Args = cobra.NoArgs
	root.RunE = func(cmd *cobra.Command, _ []string) error { return cmd.Help() }
	root.AddCommand(
		initCommand(), runCommand(), checkCommand(), restoreCommand(), drillCommand(),
		jobsCommand(), listCommand(), showCommand(), lsCommand(), catCommand(),
		keyCommand(), unlockCommand(), kitCommand(), doctorCommand(),
		importCommand(), recoverCommand(),
		addCommand(), removeCommand(),
		forgetCommand(), pruneCommand(), deleteCommand(), repairCommand(), statsCommand(), diffCommand(),
		keepCommand("keep", "Pins snapshots", true), keepCommand("unkeep", "Unpins snapshots", false), acceptCommand(),
		mailCommand(), helpCommand(root),
	)
}

// session is one command at work.
type session struct {
	*handler.Client
	repository string
	json       bool
	out        io.Writer // for data
	err        io.Writer // for messages and progress
}

// action makes a command's RunE: it connects, does the work, and turns the outcome into a message and an exit code.
func action(work func(ctx context.Context, s *session, args []string) error) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, args []string) error {
		ctx, stop := signal.NotifyContext(cmd.Context(), os.Interrupt, syscall.SIGTERM)
		defer stop()
		// After the first signal the next one ends the program at once.
		context.AfterFunc(ctx, stop)
		err := func() error {
			s, done, err := newSession(cmd)
			if err != nil {
				return err
			}
			defer done()
			return work(ctx, s, args)
		}()
		return exit(cmd, err)
	}
}

func newSession(cmd *cobra.Command) (*session, func(), error) {
	flags := caddycmd.Flags{FlagSet: cmd.Flags()}
	client, done, err := connect(flags)
	if err != nil {
		return nil, nil, err
	}
	return &session{
		Client:     client,
		repository: flags.String("repository"),
		json:       flags.Bool("json"),
		out:        cmd.OutOrStdout(),
		err:        cmd.ErrOrStderr(),
	}, done, nil
}

// exit prints the error and hands the exit code to Caddy's main, whose error type is known to caddycmd alone.
func exit(cmd *cobra.Command, err error) error {
	if err == nil {
		return nil
	}
	cmd.SilenceErrors = true
	fmt.Fprintln(cmd.ErrOrStderr(), "Error:", err)
	code := exitCode(err)
	if code == exitFailed {
		return err
	}
	return caddycmd.WrapCommandFuncForCobra(func(caddycmd.Flags) (int, error) { return code, nil })(cmd, nil)
}

// exitCode is the one place where errors become exit codes.
func exitCode(err error) int {
	var withCode *codeError
	switch {
	case errors.As(err, &withCode):
		return withCode.code
	case errors.Is(err, context.Canceled):
		return exitCancelled
	case errors.Is(err, repo.ErrNoRepository):
		return exitNoRepository
	case errors.Is(err, repo.ErrLocked):
		return exitLocked
	case errors.Is(err, repo.ErrWrongPassword):
		return exitWrongPassword
	}
	return exitFailed
}

// codeError is an error that knows its exit code.
type codeError struct {
	error
	code int
}

// helpCommand is what people type who do not know about --help. Cobra has its own for the root of all commands only.
func helpCommand(backups *cobra.Command) *cobra.Command {
	return &cobra.Command{
		Use:   "help [command]",
		Short: "Says what a command does, as --help behind it",
		RunE: func(_ *cobra.Command, args []string) error {
			cmd, rest, err := backups.Find(args)
			if err == nil && len(rest) > 0 {
				err = fmt.Errorf("there is no command %q; caddy backup help lists them", strings.Join(args, " "))
			}
			if err != nil {
				return err
			}
			return cmd.Help()
		},
	}
}
