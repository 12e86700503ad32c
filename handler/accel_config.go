package handler

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddy-backup/caddy-backup/internal/setting"
)

// everyJob stands for all jobs in AccelSnapshots.
const everyJob = "*"

// Provision checks the configuration. It looks whether roots lie apart from what must never be served, and nothing else
// on the disk.
func (a *Accel) Provision(ctx caddy.Context) error {
	a.log, a.now = ctx.Slogger(), time.Now
	if err := a.resolveRoots(); err != nil {
		return err
	}
	if err := a.check(false); err != nil {
		return err
	}
	app, err := ctx.AppIfConfigured("backup")
	if err != nil && !errors.Is(err, caddy.ErrNotConfigured) {
		return err
	}
	if len(a.Snapshots) > 0 {
		if a.service, err = serviceOf(ctx, "backup_accel with `snapshots`"); err != nil {
			return err
		}
		if err := a.checkJobs(app); err != nil {
			return err
		}
	}
	return a.checkRoots(privatePaths(ctx, app))
}

// roots yields every folder of the configuration, with the word that it stands after.
func (a *Accel) roots() (roots []accelRoot) {
	for i := range a.Files {
		roots = append(roots, accelRoot{"files", &a.Files[i].Root})
	}
	for i := range a.SendfileRoots {
		roots = append(roots, accelRoot{"sendfile_root", &a.SendfileRoots[i]})
	}
	return roots
}

type accelRoot struct {
	word string
	path *string
}

func (a *Accel) resolveRoots() error {
	for _, r := range a.roots() {
		root, err := setting.Resolve(r.word, *r.path)
		if err != nil {
			return err
		}
		*r.path = root
	}
	return nil
}

// check is what can be said of a configuration by itself. The directive calls it as well, when there may be placeholders
// in the roots.
func (a *Accel) check(placeholders bool) error {
	if len(a.Snapshots)+len(a.Files)+len(a.SendfileRoots) == 0 {
		return errors.New("backup_accel has nothing to serve: add a line such as: snapshots /_backups/ <job>")
	}
	var prefixes []string
	for _, s := range a.Snapshots {
		prefixes = append(prefixes, s.Prefix)
		if err := s.checkNames(); err != nil {
			return err
		}
	}
	for _, f := range a.Files {
		prefixes = append(prefixes, f.Prefix)
	}
	for _, r := range a.roots() {
		if placeholders && strings.Contains(*r.path, "{") {
			continue
		}
		if !filepath.IsAbs(*r.path) || filepath.Clean(*r.path) == "/" {
			return fmt.Errorf("bad %s folder '%s': must be an absolute path, and not /", r.word, *r.path)
		}
	}
	return checkPrefixes(prefixes)
}

func (s AccelSnapshots) checkNames() error {
	switch {
	case len(s.Jobs) == 0:
		return fmt.Errorf("snapshots %s opens no job: name those that may be had, or * for all", s.Prefix)
	case len(s.Jobs) > 1 && slices.Contains(s.Jobs, everyJob):
		return fmt.Errorf("snapshots %s names jobs beside *, which is all of them: leave one or the other out", s.Prefix)
	}
	return nil
}

// checkPrefixes wants each address to have one meaning.
func checkPrefixes(prefixes []string) error {
	for i, p := range prefixes {
		if !isPrefix(p) {
			return fmt.Errorf("bad prefix '%s': must begin and end with a slash, as in /_protected/, and be written as it is, "+
				"without %%", p)
		}
		for _, q := range prefixes[:i] {
			if strings.HasPrefix(p, q) || strings.HasPrefix(q, p) {
				return fmt.Errorf("prefixes %s and %s overlap: an address below both would have two meanings", q, p)
			}
		}
	}
	return nil
}

// isPrefix reports whether addresses can begin with p.
func isPrefix(p string) bool {
	path, err := accelPath(p + "x")
	return err == nil && path == p+"x" && strings.HasSuffix(p, "/") && !strings.Contains(p, "?")
}

// checkJobs refuses names that no job has.
func (a *Accel) checkJobs(app any) error {
	known, ok := app.(interface{ JobNames() []string })
	if !ok {
		return nil // another app of that name: the Service says what it knows when it is asked
	}
	names := known.JobNames()
	for _, s := range a.Snapshots {
		for _, job := range s.Jobs {
			if job != everyJob && !slices.Contains(names, job) {
				return fmt.Errorf("snapshots %s: there is no job %s; there are: %s", s.Prefix, job, strings.Join(names, ", "))
			}
		}
	}
	return nil
}

// privatePaths lists what no root may hold, nor lie in: repositories and their passwords, Caddy's certificates with
// their keys, and the configuration that it saves.
func privatePaths(ctx caddy.Context, app any) []string {
	paths := []string{caddy.AppDataDir(), caddy.AppConfigDir()}
	if store, ok := ctx.Storage().(interface{ Filename(key string) string }); ok { // the one of files
		paths = append(paths, store.Filename(""))
	}
	if a, ok := app.(interface{ PrivatePaths() []string }); ok {
		paths = append(paths, a.PrivatePaths()...)
	}
	for i, p := range paths {
		if at, err := filepath.Abs(p); err == nil { // relative without HOME
			paths[i] = at
		}
	}
	return paths
}

func (a *Accel) checkRoots(private []string) error {
	for _, r := range a.roots() {
		for _, p := range private {
			if within(*r.path, p) || within(p, *r.path) {
				return fmt.Errorf("%s %s: %s is nothing to serve, and neither is a folder with that in it: choose another folder",
					r.word, *r.path, p)
			}
		}
		*r.path = filepath.Clean(*r.path)
	}
	return nil
}

// within reports whether path is folder, or below it, where symbolic links lead in the end.
func within(folder, path string) bool {
	rel, err := filepath.Rel(realPath(folder, maxLinks), realPath(path, maxLinks))
	return err == nil && filepath.IsLocal(rel)
}

// maxLinks is how many links to what does not exist are followed.
const maxLinks = 40

// realPath resolves the symbolic links in as much of an absolute path as exists, and those that lead to what does not
// exist yet.
func realPath(path string, links int) string {
	rest := ""
	for dir := filepath.Clean(path); ; dir = filepath.Dir(dir) {
		if found, err := filepath.EvalSymlinks(dir); err == nil {
			return filepath.Join(found, rest)
		}
		if to, err := os.Readlink(dir); err == nil && links > 0 {
			if !filepath.IsAbs(to) {
				to = filepath.Join(filepath.Dir(dir), to)
			}
			return realPath(filepath.Join(to, rest), links-1)
		}
		if dir == filepath.Dir(dir) {
			return path
		}
		rest = filepath.Join(filepath.Base(dir), rest)
	}
}
