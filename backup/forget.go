package backup

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/caddy-backup/caddy-backup/repo"
)

// RetentionReport is what the retention of a job says of its snapshots.
type RetentionReport struct {
	Job        string             `json:"job"`
	Repository string             `json:"repository"`
	Host       string             `json:"host"`      // whose snapshots these are; those of other hosts are not touched
	Retention  *Retention         `json:"retention"` // nil: everything stays
	Keep       int                `json:"keep"`
	Remove     int                `json:"remove"`
	Snapshots  []RetainedSnapshot `json:"snapshots"`         // newest first
	Refused    string             `json:"refused,omitempty"` // why forget would refuse now
	// NeedsConfirm is whether it would refuse only because it is more than half of the snapshots, unless told to confirm.
	NeedsConfirm bool `json:"needs_confirm,omitempty"`

	going []repo.Snapshot // all files of what goes
}

// RetainedSnapshot is a snapshot, what becomes of it, and why.
type RetainedSnapshot struct {
	Snapshot
	Kept    bool     `json:"kept"`
	Reasons []string `json:"reasons"` // at least one
}

// Retention says what Forget would do to the snapshots of a job now. It takes no lock and changes nothing.
func (s *Service) Retention(ctx context.Context, job string) (RetentionReport, error) {
	c, v, j, err := s.jobVault(job)
	if err != nil {
		return RetentionReport{}, err
	}
	r, err := v.open(ctx, c, createNever)
	if err != nil {
		return RetentionReport{}, err
	}
	now, seen := s.now(), v.recall(ctx, c)
	if seen.snapshots, err = r.Snapshots(ctx); errors.Is(err, repo.ErrDamaged) {
		seen.damaged = err
	} else if err != nil {
		return RetentionReport{}, v.explain(err)
	}
	report := v.retain(c, j, seen.snapshots, now)
	v.annotate(ctx, c, r, len(report.Snapshots), func(i int) *Snapshot { return &report.Snapshots[i].Snapshot })
	if seen.keys, err = v.keyFiles(ctx); err != nil {
		return RetentionReport{}, v.explain(err)
	}
	seen.compare(v, r.Config().ID)
	if err := v.refusal(seen, now, false); err != nil {
		report.Refused = err.Error()
	} else if err := report.tooMuch(); err != nil {
		report.Refused, report.NeedsConfirm = err.Error(), true
	}
	return report, nil
}

// jobVault finds a job and its repository.
func (s *Service) jobVault(name string) (*setup, *vault, Job, error) {
	c, err := s.current()
	if err != nil {
		return nil, nil, Job{}, err
	}
	j, err := c.job(name)
	if err != nil {
		return nil, nil, Job{}, err
	}
	v, err := s.vaultIn(c, j.To)
	return c, v, j, err
}

// retain applies a job's retention to its snapshots among all, which are newest first.
func (v *vault) retain(c *setup, j Job, all []repo.Snapshot, now time.Time) RetentionReport {
	report := RetentionReport{Job: j.Name, Repository: v.name, Host: c.Host, Retention: j.Retention, Snapshots: []RetainedSnapshot{}}
	files := byStableID(all)
	group := slices.DeleteFunc(slices.Clone(all), func(s repo.Snapshot) bool {
		return jobOf(s) != j.Name || s.Hostname != c.Host || replaced(files[s.StableID()], s)
	})
	fates := make([]fate, len(group))
	if j.Retention != nil {
		fates = j.Retention.decide(group, now, j.Zone)
	}
	for i, s := range group {
		f := fates[i]
		if j.Retention == nil {
			f = fate{true, []string{"the job has no retention"}}
		}
		report.Snapshots = append(report.Snapshots, RetainedSnapshot{snapshotOf(v, s), f.keep, f.reasons})
		if f.keep {
			report.Keep++
			continue
		}
		report.Remove++
		report.going = append(report.going, editions(files[s.StableID()], s)...)
	}
	return report
}

// byStableID groups snapshots, so that among ten thousand of them not each is compared with each.
func byStableID(all []repo.Snapshot) map[repo.ID][]repo.Snapshot {
	files := make(map[repo.ID][]repo.Snapshot, len(all))
	for _, s := range all {
		files[s.StableID()] = append(files[s.StableID()], s)
	}
	return files
}

// distinct counts snapshots whose files these are.
func distinct(files []repo.Snapshot) (n int) {
	for _, some := range byStableID(files) {
		for _, s := range some {
			if !replaced(some, s) {
				n++
			}
		}
	}
	return n
}

// editions are all files of a snapshot: a change of tags that did not end leaves two.
func editions(all []repo.Snapshot, s repo.Snapshot) (files []repo.Snapshot) {
	for _, x := range all {
		if x.StableID() == s.StableID() && x.Tree == s.Tree && x.Time.Equal(s.Time) {
			files = append(files, x)
		}
	}
	return files
}

// replaced reports whether another file stands for the same snapshot: the one that is pinned, else the newer one. One file of
// each snapshot is not replaced.
func replaced(all []repo.Snapshot, s repo.Snapshot) bool {
	rank := func(s repo.Snapshot) (n int) {
		if pinned(s) {
			n += 2
		}
		if s.Original != nil {
			n++
		}
		return n
	}
	return slices.ContainsFunc(editions(all, s), func(x repo.Snapshot) bool {
		return cmp.Or(cmp.Compare(rank(x), rank(s)), bytes.Compare(x.ID[:], s.ID[:])) > 0
	})
}

func containsSnapshot(list []repo.Snapshot, id repo.ID) bool {
	return slices.ContainsFunc(list, func(s repo.Snapshot) bool { return s.ID == id })
}

// manyAtOnce is how many snapshots may go at once, though they are more than half of a job's.
const manyAtOnce = 3

// tooMuch refuses what may be a slip in the policy.
func (r *RetentionReport) tooMuch() error {
	if all := len(r.Snapshots); r.Remove > manyAtOnce && 2*r.Remove > all {
		return fmt.Errorf("%w, nothing was deleted: retention would remove %d of %s of job %s, more than half of them: look which "+
			"(caddy backup forget %s --dry-run), and if that is meant, add --confirm", ErrRefused, r.Remove, plural(all, "snapshot"), r.Job, r.Job)
	}
	return nil
}

// ForgetRequest asks for what the retention of a job says.
type ForgetRequest struct {
	Job         string `json:"-"`
	DryRun      bool   `json:"dry_run"`
	AcceptFewer bool   `json:"accept_fewer"` // go on although others removed snapshots or keys since the last run
	Confirm     bool   `json:"confirm"`      // go on although more than half of the snapshots are to go
}

// Forget starts a run that removes the snapshots that the retention of a job does not keep, and returns at once. Their space
// is freed by Prune. ErrNotFound; ErrInvalid when the job has no retention; ErrConflict (with the running run).
func (s *Service) Forget(ctx context.Context, by string, q ForgetRequest) (Run, error) {
	return s.forget(by, q, false)
}

func (s *Service) forget(by string, q ForgetRequest, follows bool) (Run, error) {
	c, v, j, err := s.jobVault(q.Job)
	if err != nil {
		return Run{}, err
	}
	if j.Retention == nil {
		return Run{}, fmt.Errorf("%w: job %s has no retention, so nothing of it is ever removed: add a `retention` block to it", ErrInvalid, j.Name)
	}
	clash := func(r Run) bool { return r.Kind == KindForget && r.Job == j.Name }
	run, err := s.start(c, by, Run{Kind: KindForget, Job: j.Name, Repository: v.name, DryRun: q.DryRun, Follows: follows}, clash, func(ctx context.Context, r *runner) error {
		return forgetRun{repositoryRun{r, v}}.retention(ctx, j, q)
	})
	if err == nil {
		s.audit(by, "retention asked for", "job", j.Name, "dry_run", q.DryRun, "accept_fewer", q.AcceptFewer, "confirm", q.Confirm, "run", run.ID)
	}
	return run, err
}
