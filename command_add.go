package caddybackup

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/spf13/cobra"

	"github.com/caddy-backup/caddy-backup/backup"
	"github.com/caddy-backup/caddy-backup/handler"
)

// addOptions are the options of `caddy backup add`.
type addOptions struct {
	file, source, to, schedule, dsn, dsnFile string
	apps, with, set                          []string
	request                                  handler.JobAddition
}

func addCommand() *cobra.Command {
	var o addOptions
	cmd := &cobra.Command{
		Use:   "add <job> <engine> [argument...]",
		Short: "Adds a job at run time, without a change of the configuration",
		Long: `Adds a job to those of the configuration. It is kept in Caddy's storage, and in force at once, without a reload; other
Caddys with the same storage and host name have it within a minute.

Engine and arguments are those of the line "source <name> <engine> ..." in a Caddyfile, and everything else that a job
can have is given as it stands there: --with takes lines of the block of the source, --set lines of the block of the job.
Arguments that begin with a dash stand behind a double dash.

  caddy backup add shop django /srv/shop/manage.py --app orders --app customers --schedule daily
  caddy backup add shop postgres --dsn-file /etc/caddy/shop.dsn --with 'exclude_tables sessions' --set 'retention {
    daily 14
  }'
  caddy backup add cache command --schedule hourly -- redis-cli --rdb -
  caddy backup add --file shop.caddyfile

--file takes a whole job, "job <name> { ... }"; with - it is read from the standard input.

Paths are those of the machine that Caddy runs on. No argument may hold a password: every user of the machine can read
them. A placeholder such as {env.DATABASE_URL} or {file./run/secrets/shop} is kept as it is, and replaced when the
server loads the job; --dsn-file names a file of the server in the same way.

Before anything is kept, the source is asked: a Django project whether it has these apps, and whether they have models.
What another job saves already is refused, unless --force is given.`,
		RunE: action(func(ctx context.Context, s *session, args []string) error {
			j, err := o.job(args)
			if err != nil {
				return err
			}
			return s.add(ctx, j, o.request)
		}),
	}
	f := cmd.Flags()
	f.StringVarP(&o.file, "file", "f", "", "Read the whole job from a file, or with - from the standard input")
	f.StringVar(&o.source, "source", "", "Name of the source in snapshots (default: \"db\" of databases, else the engine's)")
	f.StringVar(&o.to, "to", "", "Repository (default: \"default\", or the only one)")
	f.StringVar(&o.schedule, "schedule", "", "When it runs: daily, \"daily 03:15\", \"every 6h\" (default: by hand)")
	f.StringVar(&o.dsn, "dsn", "", "Of a database server: a placeholder such as {env.DATABASE_URL}, or a DSN without a password")
	f.StringVar(&o.dsnFile, "dsn-file", "", "Of a database server: a file of the server with the DSN, or - to read the DSN now")
	f.StringArrayVar(&o.apps, "app", nil, "Of a Django project: an app to back up (can be repeated)")
	f.BoolVar(&o.request.AllApps, "all-apps", false, "Of a Django project: back up all apps")
	f.StringArrayVar(&o.with, "with", nil, "A line of the block of the source, as in a Caddyfile (can be repeated)")
	f.StringArrayVar(&o.set, "set", nil, "A line of the block of the job, as in a Caddyfile (can be repeated)")
	f.BoolVar(&o.request.Replace, "replace", false, "Put it in the place of the job of this name that was added at run time")
	f.BoolVar(&o.request.Force, "force", false, "Add it although another job saves something of it")
	for _, other := range []string{"source", "to", "schedule", "dsn", "dsn-file", "app", "with", "set"} {
		cmd.MarkFlagsMutuallyExclusive("file", other)
	}
	cmd.MarkFlagsMutuallyExclusive("dsn", "dsn-file")
	cmd.MarkFlagsMutuallyExclusive("app", "all-apps")
	return cmd
}

// job reads the job from arguments and options, or from a file.
func (o *addOptions) job(args []string) (*Job, error) {
	if o.file != "" {
		if len(args) > 0 {
			return nil, fmt.Errorf("%s: the file names the job and its sources; leave the arguments out", args[0])
		}
		text, err := readFileOrInput(o.file)
		if err != nil {
			return nil, err
		}
		return parseJobFile(text, "--file "+o.file)
	}
	engines := guests("backup.sources")
	switch {
	case len(args) == 0:
		return nil, errors.New("no job is named: write caddy backup add <job> <engine> [argument...]")
	case len(args) == 1:
		return nil, fmt.Errorf("job %s needs an engine, one of: %s", args[0], strings.Join(engines, ", "))
	case !slices.Contains(engines, args[1]):
		return nil, fmt.Errorf("there is no engine '%s'; there are: %s", args[1], strings.Join(engines, ", "))
	}
	w, err := o.words(args)
	if err != nil {
		return nil, err
	}
	j, err := w.parse()
	if err != nil {
		return nil, err
	}
	return j, o.refuseSecrets(j)
}

// words are what the options stand for.
func (o *addOptions) words(args []string) (w jobWords, err error) {
	w.job, w.source = args[0], append([]string{cmp.Or(o.source, sourceName(args[1]))}, args[1:]...)
	w.with.written, w.set.written = o.with, o.set
	dsn := o.dsn
	switch {
	case o.dsnFile == "-":
		text, err := readFileOrInput("-")
		if err != nil {
			return w, err
		}
		dsn = string(bytes.TrimSpace(text))
	case o.dsnFile != "":
		path, err := filepath.Abs(o.dsnFile)
		if err != nil {
			return w, err
		}
		dsn = "{file." + path + "}"
	}
	if dsn != "" {
		w.with.add("dsn", dsn)
	}
	if len(o.apps) > 0 {
		w.with.add(append([]string{"apps"}, o.apps...)...)
	}
	if o.to != "" {
		w.set.add("to", o.to)
	}
	if o.schedule != "" {
		w.set.add(append([]string{"schedule"}, strings.Fields(o.schedule)...)...)
	}
	return w, nil
}

// sourceName is what a source is called that nobody gave a name.
func sourceName(engine string) string {
	if slices.Contains([]string{"django", "mysql", "postgres", "sqlite"}, engine) {
		return "db"
	}
	return engine
}

// refuseSecrets refuses what other users have read by now.
func (o *addOptions) refuseSecrets(j *Job) error {
	for _, setting := range literalSecrets(j) {
		if setting == "dsn" && o.dsnFile == "-" {
			continue
		}
		return fmt.Errorf("%s holds a secret, and every user of this machine can read the arguments of programs: give a placeholder such as "+
			"{env.NAME} or {file./path}, a DSN by --dsn-file, or the whole job by --file -; and change the secret, if others have accounts here", setting)
	}
	return nil
}

// literalSecrets names the settings that hold secrets as they are.
func literalSecrets(j *Job) (settings []string) {
	for _, s := range j.Sources {
		info, err := caddy.GetModule("backup.sources." + engineOf(s))
		if err != nil {
			continue
		}
		guest, ok := info.New().(keepsSecret)
		if ok && json.Unmarshal(s.SourceRaw, guest) == nil && guest.LiteralSecret() != "" {
			settings = append(settings, guest.LiteralSecret())
		}
	}
	for _, hook := range slices.Concat(j.Before, j.After) {
		if secret := hook.LiteralSecret(); secret != "" {
			settings = append(settings, secret)
		}
	}
	return settings
}

// readFileOrInput reads a file, or what - stands for: the standard input.
func readFileOrInput(name string) ([]byte, error) {
	const most = 64 << 10
	in := io.Reader(os.Stdin)
	if name != "-" {
		f, err := os.Open(name)
		if err != nil {
			return nil, err
		}
		defer f.Close()
		in = f
	}
	data, err := io.ReadAll(io.LimitReader(in, most+1))
	if err == nil && len(data) > most {
		err = fmt.Errorf("%s is larger than %d KiB: that is no job", name, most>>10)
	}
	return data, err
}

func (s *session) add(ctx context.Context, j *Job, q handler.JobAddition) error {
	var err error
	if q.Job, err = json.Marshal(j); err != nil {
		return err
	}
	x, err := s.AddJob(ctx, q)
	if err != nil {
		return err
	}
	if s.json {
		return s.printJSON(x)
	}
	fmt.Fprintf(s.out, "Added job %s: %s, to repository %s, %s\n", x.Job.Name, kinds(x.Job), x.Job.Repository, scheduleOf(x.Job.Schedule))
	s.tellNotes(x.Notes)
	s.note("The first backup now: caddy backup run %s", x.Job.Name)
	return nil
}

// kinds names the sources of a job: "db (sqlite), media (files)".
func kinds(j backup.JobStatus) string {
	names := make([]string, len(j.Sources))
	for i, s := range j.Sources {
		if names[i] = s.Name; s.Kind != s.Name {
			names[i] += " (" + s.Kind + ")"
		}
	}
	return strings.Join(names, ", ")
}

func (s *session) tellNotes(notes []string) {
	for _, text := range notes {
		s.note("note: %s", printable(text))
	}
}

func removeCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "remove <job>",
		Short: "Removes a job that was added at run time; its snapshots stay",
		Long: `Removes a job that was added by 'caddy backup add'. Its snapshots stay in the repository, and can be restored and deleted
as any others. A job of the configuration is removed there.`,
		Args: cobra.ExactArgs(1),
		RunE: action(func(ctx context.Context, s *session, args []string) error {
			x, err := s.RemoveJob(ctx, args[0])
			if err != nil {
				return err
			}
			if s.json {
				return s.printJSON(x)
			}
			fmt.Fprintf(s.out, "Removed job %s\n", printable(args[0]))
			s.tellNotes(x.Notes)
			return nil
		}),
	}
}
