package caddybackup

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/caddy-backup/caddy-backup/backup"
)

// printSeries lists what can be restored, and says what to type next.
func (s *session) printSeries(ctx context.Context, q *recovery, list []backup.Series) error {
	for i := range list { // the parts of the one that would be restored
		best := list[i].Best()
		x, err := s.Snapshot(ctx, "", best.ID, "")
		if err != nil {
			s.note("warning: what is in snapshot %s cannot be told: %s", short(best.ID), printable(err.Error()))
			continue
		}
		for k := range list[i].Snapshots {
			if list[i].Snapshots[k].ID == x.ID {
				list[i].Snapshots[k] = x
			}
		}
	}
	if s.json {
		return s.printJSON(list)
	}
	for _, x := range list {
		if err := s.printOneSeries(x); err != nil {
			return err
		}
	}
	again := "caddy backup recover " + quoted(q.location)
	if q.passwordFile != "" {
		again += " --password-file " + quoted(q.passwordFile)
	}
	only := ""
	switch {
	case q.job != "":
		only = " --job " + quoted(q.job)
	case q.snapshot != "":
		only = " --snapshot " + short(list[0].Best().ID)
	}
	fmt.Fprintf(s.out, "To restore what is marked with * into a new folder:\n  %s --target ./recovered%s\n", again, only)
	if only == "" {
		fmt.Fprintln(s.out, "Add --job <job> or --snapshot <id> to restore less, or another snapshot.")
	}
	return nil
}

func (s *session) printOneSeries(x backup.Series) error {
	title := "Host " + printable(x.Host) + ", job " + printable(x.Job)
	if x.Job == "" {
		title = "Host " + printable(x.Host) + ", by another program, of " + printable(strings.Join(x.Paths, " "))
	}
	fmt.Fprintln(s.out, title)
	best := x.Best()
	t := table{right: []int{3}}
	for _, snapshot := range x.Snapshots {
		mark, state := " ", "good"
		if snapshot.ID == best.ID {
			mark = "*"
		}
		if doubt := x.Doubt(snapshot); doubt != "" || x.Job == "" {
			state = doubt
		}
		t.row(" "+mark, short(snapshot.ID), timeIn("", snapshot.Time), size(snapshot.Size), state)
	}
	if err := t.write(s.out); err != nil {
		return err
	}
	if best.Manifest != nil {
		parts := table{right: []int{2}}
		for _, p := range best.Manifest.Parts {
			made := strings.Join(nonEmpty(p.Engine, p.Tool, p.Facts.Source), ", ")
			parts.row("   ", printable(p.Name), size(p.Size), p.Kind, printable(made), printable(p.Checked))
		}
		if err := parts.write(s.out); err != nil {
			return err
		}
	}
	_, err := fmt.Fprintln(s.out)
	return err
}

func nonEmpty(words ...string) (there []string) {
	for _, w := range words {
		if w != "" {
			there = append(there, w)
		}
	}
	return there
}

// recoverAll restores the best snapshot of each series. One that fails does not keep the others.
func (s *session) recoverAll(ctx context.Context, q *recovery, list []backup.Series) error {
	var runs []backup.Run
	var failures []error
	some := false
	for i, folder := range backup.Folders(list) {
		best := list[i].Best()
		target := filepath.Join(q.target, folder)
		s.note("restoring snapshot %s of %s, made %s, into %s", short(best.ID), printable(strings.Join(best.Paths, " ")),
			timeIn("", best.Time), printable(target))
		run, err := s.Restore(ctx, backup.RestoreRequest{Snapshot: best.ID, Target: target, Partial: true})
		if err == nil {
			run, err = s.follow(ctx, run)
			runs = append(runs, run)
		}
		if ctx.Err() != nil {
			return err
		}
		some = some || err == nil || run.Progress.Bytes > 0
		if err != nil {
			failures = append(failures, err)
		}
		if !s.json {
			s.printRecovered(ctx, best, target, run, err)
		}
	}
	if s.json {
		if err := s.printJSON(runs); err != nil {
			return err
		}
	}
	switch {
	case len(failures) == 0:
		return nil
	case !some:
		return errors.Join(failures...)
	}
	return &codeError{fmt.Errorf("%d of %d snapshots were restored in part or not at all, see above", len(failures), len(list)), exitPartly}
}

// printRecovered says what came of a snapshot, and how its parts go back.
func (s *session) printRecovered(ctx context.Context, x backup.Snapshot, target string, run backup.Run, err error) {
	if err != nil {
		s.note("Error: %s", printable(err.Error()))
	}
	for _, f := range run.Findings {
		if f.Error {
			fmt.Fprintf(s.out, "lost: %s: %s\n", printable(f.File), printable(f.Text))
		}
	}
	if err == nil {
		fmt.Fprintf(s.out, "%s: %s\n", printable(strings.Join(x.Paths, " ")), summary(run))
	}
	full, err := s.Snapshot(ctx, "", x.ID, "")
	if err != nil || full.Manifest == nil {
		return
	}
	for _, p := range full.Manifest.Parts {
		at := filepath.Join(target, x.Job, p.Name)
		for _, f := range run.Findings {
			if !f.Error && f.File == "/"+x.Job+"/"+p.Name {
				fmt.Fprintf(s.out, "  %s is whole, SHA-256 and all; %s\n", printable(at), wayBack(p, at))
			}
		}
	}
}

// wayBack says how a part that was restored as files goes back into its place.
func wayBack(p backup.ManifestPart, at string) string {
	at, name := quoted(at), databaseName(p.Facts.Source)
	form := backup.FormOf(p.Kind, backup.Part{Name: p.Name, Folder: p.Folder})
	if form == backup.FormArchive && strings.Contains(p.Checked, "script") { // an imported one
		form = backup.FormPostgres
	}
	switch form {
	case backup.FormPostgres:
		return "into a new database, with the roles made before:\n    createdb --template=template0 --owner=OWNER " + name +
			" && psql -X --set=ON_ERROR_STOP=1 --dbname=" + name + " --file=" + at
	case backup.FormRoles:
		return "before the databases, by a superuser; errors about roles that exist are as they should be:\n    psql -X --dbname=postgres --file=" + at
	case backup.FormArchive:
		tool := ""
		if version, ok := strings.CutPrefix(p.Tool, "pg_dump "); ok {
			tool = " (pg_restore " + printable(version) + " or newer)"
		}
		if name == "postgres" { // which every server has
			return "into the database of that name, with the roles made before" + tool + ":\n" +
				"    pg_restore --exit-on-error --single-transaction --dbname=postgres " + at
		}
		return "under its old name, with its owner and settings, by a superuser, with the roles made before" + tool + ":\n" +
			"    pg_restore --create --exit-on-error --dbname=postgres " + at
	case backup.FormMySQL:
		return "into a new database:\n    mariadb --execute='create database " + name + "' && mariadb " + name + " < " + at
	case backup.FormUsers:
		return "by an administrator; errors about users that exist are as they should be:\n    mariadb --force < " + at
	case backup.FormFixture:
		return "into a database that migrate has made:\n    python manage.py migrate && python manage.py loaddata " + at
	case backup.FormSQLite:
		return "in place of the lost file, while nothing has it open and no -wal or -journal lies beside it:\n    cp " + at + " PLACE   # " + printable(strings.TrimPrefix(p.Facts.Source, "database "))
	case backup.FormCaddy:
		return "before Caddy starts, as the user that it runs as:\n    cp -a " + at + "/storage/. STORAGE   # as a rule ~/.local/share/caddy, " +
			"or as `storage` in " + at + "/caddyfile says"
	case backup.FormFolder:
		return "to where it was:\n    cp -a " + at + "/. PLACE   # " + printable(strings.TrimPrefix(p.Facts.Source, "folder "))
	}
	return "what a program has printed, for the program that reads it: " + printable(p.Facts.Source)
}

var plainDatabase = regexp.MustCompile(`^database ([A-Za-z0-9_]+) on `)

// databaseName is the name of the database that was dumped, by what the manifest says of it; "NAME" where somebody has to put it in.
func databaseName(source string) string {
	if m := plainDatabase.FindStringSubmatch(source); m != nil {
		return m[1]
	}
	return "NAME"
}

// quoted is a word for a shell.
func quoted(word string) string {
	if !strings.ContainsFunc(word, func(r rune) bool {
		return !strings.ContainsRune("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789/._-+:@%", r)
	}) && word != "" {
		return word
	}
	return "'" + strings.ReplaceAll(printable(word), "'", `'\''`) + "'"
}
