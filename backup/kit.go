package backup

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"time"

	"github.com/caddy-backup/caddy-backup/repo"
)

// Kit is the recovery kit: what somebody must know, on paper or on another machine, who wants everything back when this
// machine is gone. The passwords are not in it.
type Kit struct {
	Made         time.Time         `json:"made"`
	Host         string            `json:"host"`
	Versions     map[string]string `json:"versions,omitempty"`
	Repositories []KitRepository   `json:"repositories"`
}

// KitRepository is a repository in a Kit.
type KitRepository struct {
	Name         string    `json:"name"`
	Location     string    `json:"location"`
	ID           string    `json:"id,omitempty"`
	Version      uint      `json:"version,omitempty"`       // of the format
	Problem      string    `json:"problem,omitempty"`       // why it could not be opened: then ID and Version are unknown
	PasswordFile string    `json:"password_file,omitempty"` // of a password that we generated
	PasswordFrom string    `json:"password_from,omitempty"` // where a configured one is kept, for people
	Confirmed    time.Time `json:"confirmed,omitzero"`      // when somebody said that this kit was saved
	SameDisk     []string  `json:"same_disk,omitempty"`     // sources that lie on the file system of the repository
	Jobs         []KitJob  `json:"jobs"`
}

// KitJob is a job in a Kit.
type KitJob struct {
	Name    string      `json:"name"`
	Sources []KitSource `json:"sources"`
}

// KitSource is a source in a Kit.
type KitSource struct {
	Name  string   `json:"name"`
	Kind  string   `json:"kind"`
	Parts []string `json:"parts"` // names of its files and folders in a snapshot; those of folders end with a slash
}

// Kit makes the recovery kit of a repository; of all when no name is given. It opens them, for their IDs; that one cannot be
// opened stands in the kit.
func (s *Service) Kit(ctx context.Context, repository string) (Kit, error) {
	c, err := s.current()
	if err != nil {
		return Kit{}, err
	}
	wanted := c.Repositories
	if repository != "" {
		r, err := c.repository(repository)
		if err != nil {
			return Kit{}, err
		}
		wanted = []RepositoryConfig{r}
	}
	kit := Kit{Made: s.now().UTC(), Host: c.Host, Versions: c.Versions}
	for _, r := range wanted {
		v, err := s.vaultIn(c, r.Name)
		if err != nil {
			return Kit{}, err
		}
		kit.Repositories = append(kit.Repositories, v.kit(ctx, c))
	}
	return kit, nil
}

func (v *vault) kit(ctx context.Context, c *setup) KitRepository {
	k := KitRepository{Name: v.name, Location: v.location, PasswordFrom: v.passwordFrom, Jobs: []KitJob{}}
	if len(v.password) == 0 {
		k.PasswordFile = generatedPassword(v.dataDir, v.location)
	}
	r, err := v.open(ctx, c, createNever)
	if err != nil {
		k.Problem = err.Error()
	} else {
		k.ID, k.Version = r.Config().ID, r.Config().Version
	}
	if confirmed, ok := v.kitConfirmed(ctx, c); ok {
		k.Confirmed = confirmed.Time
	}
	for _, j := range c.jobsOf(v.name) {
		k.Jobs = append(k.Jobs, kitJob(ctx, j))
		k.SameDisk = append(k.SameDisk, sameDisk(v.location, j)...)
	}
	return k
}

// jobsOf lists the jobs that write to a repository.
func (s *setup) jobsOf(repository string) (jobs []Job) {
	for _, j := range s.Jobs {
		if r, err := s.repository(j.To); err == nil && r.Name == repository {
			jobs = append(jobs, j)
		}
	}
	return jobs
}

func kitJob(ctx context.Context, j Job) KitJob {
	job := KitJob{Name: j.Name}
	for _, s := range j.Sources {
		source := KitSource{Name: s.Name, Kind: s.Kind, Parts: []string{}}
		parts, err := s.Parts(ctx, s.Name)
		if err != nil {
			parts = nil // the snapshots tell
		}
		for _, p := range parts {
			name := p.Name
			if p.Folder {
				name += "/"
			}
			source.Parts = append(source.Parts, name)
		}
		job.Sources = append(job.Sources, source)
	}
	return job
}

// kitConfirmation says that somebody has saved the kit of a repository. It is worth nothing for another repository at
// the same place, nor after a change of the passwords. It lies in the Store.
type kitConfirmation struct {
	ID   string    `json:"id"`
	Keys []repo.ID `json:"keys"`
	By   string    `json:"by"`
	Time time.Time `json:"time"`
}

func kitKey(location string) string { return "backup/kits/" + locationKey(location) + ".json" }

// ConfirmKit notes that somebody has saved the recovery kit of a repository, which must be there.
func (s *Service) ConfirmKit(ctx context.Context, by, repository string) error {
	c, v, err := s.vault(repository)
	if err != nil {
		return err
	}
	r, err := v.open(ctx, c, createNever)
	if err != nil {
		return err
	}
	keys, err := v.keyFiles(ctx)
	if err != nil {
		return v.explain(err)
	}
	data, err := json.Marshal(kitConfirmation{r.Config().ID, keys, by, s.now().UTC()})
	if err != nil {
		return err
	}
	if err := c.Store.Store(ctx, kitKey(v.location), data); err != nil {
		return fmt.Errorf("cannot note that the recovery kit was saved: %w", err)
	}
	s.audit(by, "recovery kit confirmed as saved", "repository", v.name)
	return nil
}

// kitConfirmed loads the confirmation, if it holds for what is remembered of the repository.
func (v *vault) kitConfirmed(ctx context.Context, c *setup) (kitConfirmation, bool) {
	var k kitConfirmation
	data, err := c.Store.Load(ctx, kitKey(v.location))
	if err == nil {
		err = json.Unmarshal(data, &k)
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		v.base.Logger.Warn("cannot tell whether the recovery kit was saved", "error", err)
	}
	if err != nil {
		return k, false
	}
	m, err := v.remembered(ctx, c)
	if err != nil {
		return k, true
	}
	return k, k.ID == m.ID && (m.Keys == nil || sameIDs(k.Keys, m.Keys))
}

func sameIDs(a, b []repo.ID) bool {
	return len(a) == len(b) && !slices.ContainsFunc(a, func(id repo.ID) bool { return !slices.Contains(b, id) })
}

// kitMissing reports whether somebody still has to save the kit: the password was generated by us, so nobody else has it.
func (v *vault) kitMissing(ctx context.Context, c *setup) bool {
	if len(v.password) > 0 || generatedPassword(v.dataDir, v.location) == "" {
		return false
	}
	_, ok := v.kitConfirmed(ctx, c)
	return !ok
}

// askForKits has the log ask for the kits that nobody has saved.
func (s *Service) askForKits(ctx context.Context, c *setup) {
	for _, r := range c.Repositories {
		v, err := s.vaultIn(c, r.Name)
		if err == nil && v.kitMissing(ctx, c) {
			c.Logger.Warn("nobody has confirmed that the recovery kit was saved: without the password, which was generated on this "+
				"machine, no backup can be read: "+v.command("kit")+", and then: "+v.command("kit --confirm"),
				"repository", r.Name, "location", v.location)
		}
	}
}

// Password is the password of a repository. It is for the process of a command line, which prints it for its user; no
// front may serve it.
func (s *Service) Password(repository string) ([]byte, error) {
	_, v, err := s.vault(repository)
	if err != nil {
		return nil, err
	}
	return v.knownPassword()
}
