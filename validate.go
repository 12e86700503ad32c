package caddybackup

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/caddy-backup/caddy-backup/backup"
	"github.com/caddy-backup/caddy-backup/repo"
)

// The sizes that packs may be told to grow to, in bytes; the same as restic's.
const (
	minPackSize = 4 << 20
	maxPackSize = 128 << 20
)

const noSource = "has no source: add a line such as: source db sqlite /srv/shop/db.sqlite3"

// Validate refuses what could only fail later. Each error says what to do.
func (a *App) Validate() error {
	if err := a.validateRepositories(); err != nil {
		return err
	}
	seen := make(map[string]bool)
	for _, j := range a.config.Jobs {
		if err := checkName("job", j.Name); err != nil {
			return err
		}
		if seen[j.Name] {
			return fmt.Errorf("job %s is there twice: give one of them another name", j.Name)
		}
		seen[j.Name] = true
		if err := a.validateJob(j); err != nil {
			return fmt.Errorf("job %s: %w", j.Name, err)
		}
	}
	return nil
}

func (a *App) validateRepositories() error {
	at := make(map[string]string)
	for _, r := range a.config.Repositories {
		if err := checkName("repository", r.Name); err != nil {
			return err
		}
		if err := checkCompression(string(r.Compression)); err != nil {
			return fmt.Errorf("repository %s: %w", r.Name, err)
		}
		if err := checkPackSize(r.PackSize); err != nil {
			return fmt.Errorf("repository %s: %w", r.Name, err)
		}
		if err := errors.Join(r.Check.Check(), r.Prune.Check()); err != nil {
			return fmt.Errorf("repository %s: %w", r.Name, err)
		}
		// Two names for one place would give it two writers and two passwords.
		place := r.Storage.Location()
		if other := at[place]; other != "" {
			return fmt.Errorf("repositories %s and %s both lie at %s: give one of them another storage", other, r.Name, place)
		}
		at[place] = r.Name
	}
	return nil
}

func (a *App) validateJob(j backup.Job) error {
	if len(j.Sources) == 0 {
		return errors.New(noSource)
	}
	seen := make(map[string]bool)
	for _, s := range j.Sources {
		if err := checkSourceName(s.Name); err != nil {
			return err
		}
		if seen[s.Name] {
			return fmt.Errorf("source %s is there twice: give one of them another name", s.Name)
		}
		seen[s.Name] = true
	}
	if j.Timeout < 0 {
		return fmt.Errorf("timeout %s is negative: leave it out for the default, %s", j.Timeout, backup.DefaultTimeout)
	}
	if j.Jitter < 0 || j.OverdueAfter < 0 {
		return errors.New("jitter or overdue_after is negative: leave it out for none")
	}
	if err := backup.CheckShrinkLimit(j.ShrinkLimit); err != nil {
		return err
	}
	if j.Retention != nil {
		if err := j.Retention.Check(); err != nil {
			return err
		}
	}
	if err := a.validateNotify(j); err != nil {
		return err
	}
	names := make([]string, len(a.config.Repositories))
	for i, r := range a.config.Repositories {
		names[i] = r.Name
	}
	if !slices.Contains(names, j.To) {
		return fmt.Errorf("there is no repository %s: say where the job goes with a line such as: to %s", j.To, names[0])
	}
	return nil
}

// legalName keeps names good for folders of a snapshot, for URLs, tags and command lines, without any quoting.
var legalName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$`)

func checkName(what, name string) error {
	if !legalName.MatchString(name) {
		return fmt.Errorf("bad %s name '%s': use up to 64 letters, digits, '-', '_' and '.', beginning with a letter or digit",
			what, name)
	}
	return nil
}

// checkSourceName also keeps a source's part from taking the place of the files that every snapshot has.
func checkSourceName(name string) error {
	if strings.EqualFold(name, "manifest.json") || strings.EqualFold(name, "SHA256SUMS") {
		return fmt.Errorf("bad source name '%s': every snapshot has a file of this name; choose another", name)
	}
	return checkName("source", name)
}

func checkCompression(s string) error {
	switch repo.Compression(s) {
	case "", repo.CompressionAuto, repo.CompressionOff, repo.CompressionMax:
		return nil
	}
	return fmt.Errorf("bad compression value '%s': must be auto, off or max", s)
}

func checkPackSize(n int) error {
	if n != 0 && (n < minPackSize || n > maxPackSize) {
		return fmt.Errorf("bad pack_size value '%d': must be between 4MiB and 128MiB", n)
	}
	return nil
}
