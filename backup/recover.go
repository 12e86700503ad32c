package backup

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"path"
	"slices"
	"strings"

	"github.com/caddy-backup/caddy-backup/repo"
)

// Series is the snapshots that belong together, newest first: those of one job of one host, or of other programs those
// with the same paths.
type Series struct {
	Host      string     `json:"host"`
	Job       string     `json:"job,omitempty"` // empty: another program's
	Paths     []string   `json:"paths"`
	Snapshots []Snapshot `json:"snapshots"`
}

// AllSeries groups snapshots, which are newest first, by host and job. Job, unless it is "", chooses one job.
func AllSeries(all []Snapshot, job string) []Series {
	var list []Series
	for _, s := range all {
		if job != "" && s.Job != job {
			continue
		}
		i := slices.IndexFunc(list, func(x Series) bool {
			return x.Host == s.Host && x.Job == s.Job && slices.Equal(x.Paths, s.Paths)
		})
		if i < 0 {
			i = len(list)
			list = append(list, Series{Host: s.Host, Job: s.Job, Paths: s.Paths})
		}
		list[i].Snapshots = append(list[i].Snapshots, s)
	}
	slices.SortStableFunc(list, func(a, b Series) int {
		return cmp.Or(cmp.Compare(a.Host, b.Host), cmp.Compare(a.Job, b.Job), slices.Compare(a.Paths, b.Paths))
	})
	return list
}

// Doubt says why a snapshot of the series is no good one: "safety", of what a restore replaced; "suspect"; "repaired" after it lost something; "damaged", when it
// is the old one of such. "" for good ones.
func (x Series) Doubt(s Snapshot) string {
	switch {
	case slices.Contains(s.Tags, tagSafety): // also of what was in doubt
		return tagSafety
	case slices.Contains(s.Tags, tagSuspect):
		return tagSuspect
	case slices.Contains(s.Tags, repo.TagRepaired):
		return repo.TagRepaired
	case slices.ContainsFunc(x.Snapshots, func(other Snapshot) bool {
		return other.StableID == s.StableID && slices.Contains(other.Tags, repo.TagRepaired)
	}):
		return "damaged"
	}
	return ""
}

// Best is the newest good snapshot that the job made; where there is none the newest imported one, which holds a single part;
// and where all are in doubt the newest.
func (x Series) Best() Snapshot {
	good := slices.DeleteFunc(slices.Clone(x.Snapshots), func(s Snapshot) bool { return x.Doubt(s) != "" })
	made := slices.DeleteFunc(slices.Clone(good), func(s Snapshot) bool { return slices.Contains(s.Tags, tagImport) })
	return slices.Concat(made, good, x.Snapshots)[0]
}

// Folders are where the best snapshot of each series goes below the target of a recovery: into the folder of its host, when
// there are several hosts. In it a snapshot of ours brings the folder of its job; those of other programs get one, too.
func Folders(list []Series) []string {
	several := slices.ContainsFunc(list, func(x Series) bool { return x.Host != list[0].Host })
	folders := make([]string, len(list))
	for i, x := range list {
		if several {
			folders[i] = safeName(x.Host)
		}
		if x.Job == "" {
			folders[i] = path.Join(folders[i], "snapshot-"+x.Best().ID[:8])
		}
	}
	return folders
}

// lose notes what a partial restore could not read.
func (x *restoreRun) lose(path string, err error) {
	x.lost = append(x.lost, Finding{File: "/" + path, Error: true, Text: err.Error()})
	x.log.Error("lost", "path", "/"+path, "error", err)
}

// account ends a partial restore: what was restored is compared with the manifest, and what was not is named, in the
// findings, and in the file that marks the target as not whole.
func (x *restoreRun) account(ctx context.Context, root *os.Root, marked string) error {
	x.setStep("comparing with the manifest")
	whole := x.verifyParts(ctx, root)
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	findings := append(slices.Clone(x.lost), whole...)
	x.update(func(run *Run) { run.Findings = findings[:min(len(findings), maxFindings)] })
	if len(x.lost) == 0 {
		return root.Remove(marked)
	}
	f, err := root.OpenFile(marked, os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	fmt.Fprintln(f, "\nIt has ended. Everything is here but:")
	for _, lost := range x.lost {
		fmt.Fprintln(f, lost.File)
	}
	return fmt.Errorf("%s lost, the first: %s: %s; what else there is was restored, and %s in %s names what is missing. An older "+
		"snapshot may have it", were(len(x.lost), "item"), x.lost[0].File, x.lost[0].Text, marked, x.request.Target)
}

// verifyParts compares the parts of a whole snapshot of ours with its manifest, and tells which are right.
func (x *restoreRun) verifyParts(ctx context.Context, root *os.Root) (whole []Finding) {
	job := jobOf(x.snapshot)
	if job == "" || strings.Trim(x.request.Path, "/") != "" {
		return nil
	}
	m, err := loadManifest(ctx, x.repo, x.snapshot)
	if err != nil {
		x.log.Warn("without a manifest the parts cannot be compared with it; every byte had its own hash", "error", err)
		return nil
	}
	for _, p := range m.Parts {
		at := "/" + job + "/" + p.Name
		if slices.ContainsFunc(x.lost, func(f Finding) bool {
			return f.File == at || strings.HasPrefix(f.File, at+"/") || strings.HasPrefix(at, f.File+"/")
		}) {
			continue
		}
		if err := x.verifyPart(ctx, root, job, p); err != nil {
			x.lose(at[1:], err)
			continue
		}
		whole = append(whole, Finding{File: at, Text: "restored, as the manifest has it"})
	}
	return whole
}

// verifyPart reads a file back from the target. A folder's tree names the hash of each byte in it, which were compared
// when they were read.
func (x *restoreRun) verifyPart(ctx context.Context, root *os.Root, job string, p ManifestPart) error {
	if p.Folder {
		node, err := x.repo.Lookup(ctx, x.snapshot.Tree, job+"/"+p.Name)
		if err == nil && (node.Subtree == nil || node.Subtree.String() != p.Tree) {
			err = fmt.Errorf("its tree is not the one in the manifest: %w", repo.ErrDamaged)
		}
		return err
	}
	f, err := root.Open(job + "/" + p.Name)
	if err != nil {
		return err
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return err
	}
	if got := hex.EncodeToString(h.Sum(nil)); got != p.SHA256 {
		return fmt.Errorf("it has SHA-256 %s, the manifest says %s: %w", got, p.SHA256, repo.ErrDamaged)
	}
	return nil
}
