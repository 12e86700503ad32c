package backup

import (
	"context"
	"fmt"
	"io/fs"
	"log/slog"
	"slices"
	"strings"
	"time"
	"unicode"

	"github.com/caddy-backup/caddy-backup/internal/near"
)

// DefaultRepository is the name of a repository that was given none.
const DefaultRepository = "default"

// setup is an attached Config, checked and with its defaults filled in. It never changes: a run keeps the one that it
// was started with.
type setup struct {
	Config
	home string // in a cluster, see homeOf
}

// newSetup checks a configuration. It touches neither disk nor network.
func newSetup(c Config) (*setup, error) {
	c.Jobs, c.Repositories = slices.Clone(c.Jobs), slices.Clone(c.Repositories)
	if c.Zone == nil {
		c.Zone = time.Local
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if c.Store == nil {
		c.Store = noStore{}
	} else {
		c.Store = bound(c.Store)
	}
	s := &setup{Config: c}
	if err := s.checkCluster(); err != nil {
		return nil, err
	}
	if err := s.checkRepositories(); err != nil {
		return nil, err
	}
	if err := s.checkJobs(); err != nil {
		return nil, err
	}
	if err := s.checkNotifiers(); err != nil {
		return nil, err
	}
	return s, s.checkMails()
}

func (s *setup) checkRepositories() error {
	places := map[string]string{}
	names := map[string]bool{}
	for i := range s.Repositories {
		r := &s.Repositories[i]
		if r.Name == "" {
			r.Name = DefaultRepository
		}
		if err := checkName("repository", r.Name); err != nil {
			return err
		}
		if names[r.Name] {
			return fmt.Errorf("%w: two repositories are named %q", ErrInvalid, r.Name)
		}
		names[r.Name] = true
		if r.Storage == nil {
			return fmt.Errorf("%w: repository %q has no storage", ErrInvalid, r.Name)
		}
		location := r.Storage.Location()
		if other, taken := places[location]; taken {
			return fmt.Errorf("%w: repositories %q and %q are both at %s", ErrInvalid, other, r.Name, location)
		}
		places[location] = r.Name
		if err := r.checkPlans(); err != nil {
			return fmt.Errorf("repository %q: %w", r.Name, err)
		}
	}
	return nil
}

func (s *setup) checkJobs() error {
	names := map[string]bool{}
	for i := range s.Jobs {
		j := &s.Jobs[i]
		if err := checkName("job", j.Name); err != nil {
			return err
		}
		if names[j.Name] {
			return fmt.Errorf("%w: two jobs are named %q", ErrInvalid, j.Name)
		}
		names[j.Name] = true
		if j.Timeout <= 0 {
			j.Timeout = DefaultTimeout
		}
		if j.Stall == 0 {
			j.Stall = DefaultStall
		}
		if j.Zone == nil {
			j.Zone = s.Zone
		}
		if j.Jitter < 0 || j.OverdueAfter < 0 {
			return fmt.Errorf("%w: job %q: jitter and overdue_after cannot be negative", ErrInvalid, j.Name)
		}
		if _, err := s.repository(j.To); err != nil {
			return fmt.Errorf("job %q: %w", j.Name, err)
		}
		if err := checkSources(*j); err != nil {
			return err
		}
		if err := CheckShrinkLimit(j.ShrinkLimit); err != nil {
			return fmt.Errorf("job %q: %w", j.Name, err)
		}
		if j.Retention != nil {
			if err := j.Retention.Check(); err != nil {
				return fmt.Errorf("job %q: %w", j.Name, err)
			}
		}
	}
	return nil
}

func checkSources(j Job) error {
	if len(j.Sources) == 0 {
		return fmt.Errorf("%w: job %q has no source", ErrInvalid, j.Name)
	}
	names := map[string]bool{}
	for _, s := range j.Sources {
		if err := checkName("source", s.Name); err != nil {
			return fmt.Errorf("job %q: %w", j.Name, err)
		}
		if names[s.Name] {
			return fmt.Errorf("%w: job %q has two sources named %q", ErrInvalid, j.Name, s.Name)
		}
		names[s.Name] = true
		if s.Source == nil {
			return fmt.Errorf("%w: job %q: source %q can do nothing", ErrInvalid, j.Name, s.Name)
		}
	}
	return nil
}

// checkName holds names to what can be a file's name in a snapshot, a tag of restic's and a segment of a URL.
func checkName(what, name string) error {
	bad := func(r rune) bool { return r == '/' || r == '\\' || r == ',' || unicode.IsControl(r) }
	if name == "" || name == "." || name == ".." || len(name) > 200 || strings.ContainsFunc(name, bad) {
		return fmt.Errorf("%w: %q cannot be the name of a %s", ErrInvalid, name, what)
	}
	return nil
}

// job finds a job by name.
func (s *setup) job(name string) (Job, error) {
	for _, j := range s.Jobs {
		if j.Name == name {
			return j, nil
		}
	}
	names := make([]string, len(s.Jobs))
	for i, j := range s.Jobs {
		names[i] = j.Name
	}
	return Job{}, fmt.Errorf("%w: no job is named %q; %s", ErrNotFound, name, meant(name, "jobs", names))
}

// zoneOf is the zone in which people are told times about a job: its own; that of the configuration, which is this machine's when
// it has none, about no job that is configured.
func (s *setup) zoneOf(job string) *time.Location {
	if j, err := s.job(job); err == nil && j.Zone != nil {
		return j.Zone
	}
	return s.Zone
}

// stallOf is when a run of a job is hung; one of no job that is configured has the default.
func (s *setup) stallOf(job string) time.Duration {
	if j, err := s.job(job); err == nil {
		return j.Stall
	}
	return DefaultStall
}

// repository finds a repository by name; "" is the default one, or the only one.
func (s *setup) repository(name string) (RepositoryConfig, error) {
	if name == "" && len(s.Repositories) == 1 {
		return s.Repositories[0], nil
	}
	wanted := name
	if wanted == "" {
		wanted = DefaultRepository
	}
	names := make([]string, len(s.Repositories))
	for i, r := range s.Repositories {
		if r.Name == wanted {
			return r, nil
		}
		names[i] = r.Name
	}
	return RepositoryConfig{}, fmt.Errorf("%w: no repository is named %q; %s", ErrNotFound, wanted,
		meant(wanted, "repositories", names))
}

// meant tells which name may have been meant, and which there are.
func meant(name, what string, names []string) string {
	if like := near.Word(name, names); like != "" {
		return "did you mean " + like + "? " + existing(what, names)
	}
	return existing(what, names)
}

// existing tells which names there are.
func existing(what string, names []string) string {
	if len(names) == 0 {
		return "there are no " + what
	}
	return "there are: " + strings.Join(names, ", ")
}

// noStore forgets everything.
type noStore struct{}

func (noStore) Store(context.Context, string, []byte) error          { return nil }
func (noStore) Load(context.Context, string) ([]byte, error)         { return nil, fs.ErrNotExist }
func (noStore) Delete(context.Context, string) error                 { return nil }
func (noStore) List(context.Context, string, bool) ([]string, error) { return nil, nil }
