package caddybackup

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/caddy-backup/caddy-backup/backup"
	"github.com/caddy-backup/caddy-backup/handler"
	"github.com/caddy-backup/caddy-backup/repo"
	"github.com/caddy-backup/caddy-backup/storage"
)

// recovery is what a recovery is asked for.
type recovery struct {
	location     string
	passwordFile string
	target       string // empty: only list
	job          string
	snapshot     string
}

func recoverCommand() *cobra.Command {
	var q recovery
	cmd := &cobra.Command{
		Use:   "recover <location>",
		Short: "Lists and restores everything in a repository, with nothing but its password",
		Long: `For the day on which the machine is gone: needs the place of a repository and its password, and neither a
configuration nor a server. Lists what is there; with --target it restores the newest good snapshot of every job of
every host into that folder, verifies it, and says how each part goes back into its place. What can be read is
restored, also from a repository that is damaged; what cannot be read is named, and the exit code is 3. Snapshots
that restic made itself are restored, too.

The password is asked for on the terminal, or read from the first line of --password-file, or of the standard input
when that is no terminal. Nothing is written to the repository but a lock, and not even that where it is read-only.`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			ctx, stop := signal.NotifyContext(cmd.Context(), os.Interrupt, syscall.SIGTERM)
			defer stop()
			context.AfterFunc(ctx, stop)
			q.location = args[0]
			return exit(cmd, q.run(ctx, cmd))
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&q.passwordFile, "password-file", "", "File with the password (default: asked for)")
	flags.StringVarP(&q.target, "target", "t", "", "Folder to restore into; made when missing (default: only list)")
	flags.StringVarP(&q.job, "job", "j", "", "Only this job")
	flags.StringVar(&q.snapshot, "snapshot", "", "Only this snapshot: its ID, or the beginning of it")
	return cmd
}

func (q *recovery) run(ctx context.Context, cmd *cobra.Command) error {
	if q.snapshot != "" && q.job != "" {
		return errors.New("--snapshot names one snapshot already: leave out --job")
	}
	if q.target != "" {
		var err error
		if q.target, err = filepath.Abs(q.target); err != nil {
			return err
		}
	}
	s, done, err := q.open(cmd)
	if err != nil {
		return err
	}
	defer done()
	list, err := s.Snapshots(ctx, backup.SnapshotQuery{})
	if err != nil {
		return err
	}
	series, err := q.choose(ctx, s, list)
	if err != nil {
		return err
	}
	if q.target == "" {
		err = s.printSeries(ctx, q, series)
	} else {
		err = s.recoverAll(ctx, q, series)
	}
	if list.Damaged != "" && err == nil {
		err = &codeError{fmt.Errorf("there are snapshots that cannot be read: %s", printable(list.Damaged)), exitPartly}
	}
	return err
}

// choose narrows down what there is.
func (q *recovery) choose(ctx context.Context, s *session, list backup.SnapshotList) ([]backup.Series, error) {
	if q.snapshot != "" {
		x, err := s.Snapshot(ctx, "", q.snapshot, "")
		if err != nil { // its manifest, or a tree, may be what cannot be read
			i := slices.IndexFunc(list.Snapshots, func(x backup.Snapshot) bool { return strings.HasPrefix(x.ID, q.snapshot) })
			if i < 0 || !errors.Is(err, repo.ErrDamaged) {
				return nil, err
			}
			x = list.Snapshots[i]
		}
		return backup.AllSeries([]backup.Snapshot{x}, ""), nil
	}
	series := backup.AllSeries(list.Snapshots, q.job)
	if len(series) == 0 && q.job != "" {
		return nil, fmt.Errorf("%w: there is no snapshot of job %s", backup.ErrNotFound, q.job)
	}
	if len(series) == 0 {
		return nil, fmt.Errorf("%w: there is no snapshot in the repository %s", backup.ErrNotFound, printable(list.Damaged))
	}
	return series, nil
}

// open makes a session with a Service that knows this one repository and keeps nothing.
func (q *recovery) open(cmd *cobra.Command) (*session, func(), error) {
	asJSON, err := cmd.Flags().GetBool("json")
	if err != nil {
		return nil, nil, err
	}
	s := &session{json: asJSON, out: cmd.OutOrStdout(), err: cmd.ErrOrStderr()}
	ctx, cancel := caddy.NewContext(caddy.Context{Context: context.Background()})
	st, err := storageAt(ctx, &q.location)
	if err != nil {
		cancel()
		return nil, nil, err
	}
	password, err := s.password(q.passwordFile, cmd.InOrStdin())
	if err != nil {
		cancel()
		return nil, nil, err
	}
	service := backup.New()
	_, err = service.Attach(backup.Config{
		Repositories: []backup.RepositoryConfig{{Storage: st, Password: password, PasswordFrom: "what was given", ReadOnly: true}},
		Store:        &memoryStore{},
		Logger:       slog.New(slog.DiscardHandler), // what matters stands in the log of each run
	})
	if err != nil {
		cancel()
		return nil, nil, err
	}
	api := &handler.API{Service: func() *backup.Service { return service }, Unlimited: true, Caller: func(*http.Request) handler.Caller {
		return handler.Caller{Name: "command line", Role: handler.Root}
	}}
	s.Client = &handler.Client{Base: "http://recover/", HTTP: &http.Client{Transport: handler.InProcess(api)}}
	return s, func() {
		bounded, stop := context.WithTimeout(context.Background(), closeTimeout)
		defer stop()
		_ = service.Close(bounded) // its runs were waited for
		cancel()
	}, nil
}

// storageAt makes the storage of a location, as it stands in a Caddyfile. On a command line a path may be relative.
func storageAt(ctx caddy.Context, location *string) (backup.Storage, error) {
	if !strings.Contains(*location, ":") && !strings.HasPrefix(*location, "{") {
		path, err := filepath.Abs(*location)
		if err != nil {
			return nil, err
		}
		*location = path
	}
	scheme, err := storage.ModuleFor(*location)
	if err != nil {
		return nil, err
	}
	d := caddyfile.NewDispenser([]caddyfile.Token{{File: "command line", Line: 1, Text: *location}})
	d.Next()
	guest, err := caddyfile.UnmarshalModule(d, "backup.storages."+scheme)
	if err != nil {
		return nil, err
	}
	raw := caddyconfig.JSONModuleObject(guest, "scheme", scheme, nil)
	holder := struct {
		Raw json.RawMessage `caddy:"namespace=backup.storages inline_key=scheme"`
	}{raw}
	mod, err := ctx.LoadModule(&holder, "Raw")
	if err != nil {
		return nil, err
	}
	st, ok := mod.(backup.Storage)
	if !ok {
		return nil, fmt.Errorf("%T is not a storage for backups", mod)
	}
	return st, nil
}

// password reads the password of an existing repository.
func (s *session) password(file string, in io.Reader) (password []byte, err error) {
	from := file
	switch terminal := int(os.Stdin.Fd()); {
	case file != "":
		password, err = os.ReadFile(file)
	case in == os.Stdin && term.IsTerminal(terminal):
		from = "what was typed"
		fmt.Fprint(s.err, "Password of the repository: ")
		password, err = term.ReadPassword(terminal)
		fmt.Fprintln(s.err)
	default:
		from = "the standard input"
		password, err = io.ReadAll(io.LimitReader(in, 64<<10))
	}
	if err != nil {
		return nil, fmt.Errorf("password: %w", err)
	}
	line, ok := onlyLine(password)
	if !ok {
		return nil, fmt.Errorf("password: %s must hold one line and nothing else", from)
	}
	return line, nil
}
