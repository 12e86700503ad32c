package backup

import (
	"context"
	"encoding/json"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"strings"
	"time"

	"github.com/dustin/go-humanize"

	"github.com/caddy-backup/caddy-backup/repo"
)

// backupRun makes one snapshot of a job. Only Commit makes anything of it reachable, and it comes last: after every
// dump has returned nil, which says that its engine has verified it. Whatever goes wrong before leaves no snapshot.
type backupRun struct {
	*runner
	vault *vault
	job   Job

	repo     *repo.Repository
	seen     *sight
	absent   []string // names of parts that are known not to be there: a safety snapshot does without them
	then     string   // of a safety snapshot: see Manifest.RestoredThen
	start    time.Time
	mended   bool           // the index was repaired for this run
	parent   *repo.Snapshot // the job's newest good snapshot
	before   *Manifest      // of parent; nil when unknown
	writer   *repo.Writer
	folder   *repo.Dir // /<job> in the snapshot
	sums     sumsFile
	manifest Manifest
}

// do waits for its turn, and then works.
func (b *backupRun) do(ctx context.Context) error {
	if err := b.vault.gate.enter(ctx, b.runner); err != nil {
		return err
	}
	defer b.vault.gate.leave()
	ctx, stop := b.begin(ctx, b.job.Timeout)
	defer stop()
	ctx, rest := b.watched(ctx, b.job.Stall)
	defer rest()
	b.start = b.service.now()
	b.service.begun(b.setup, b.runner.snapshot())
	return b.prepare(ctx, func(ctx context.Context) error {
		b.setProgress(b.count)
		return b.write(ctx)
	})
}

// prepare opens the repository, or makes it at the first time, and has write use a writer, under a shared lock that is
// taken before anything is read that the snapshot will count on: it is what keeps a prune of others out.
func (b *backupRun) prepare(ctx context.Context, write func(context.Context) error) (err error) {
	b.setStep("opening the repository")
	if b.repo, err = b.vault.open(ctx, b.setup, createFirst); err != nil {
		return because(ctx, err)
	}
	lock, unlock, err := b.ready(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	b.vault.distrust(lock.Context(), b.setup, b.repo)
	if b.writer, err = b.repo.NewWriter(lock); err != nil {
		return because(lock.Context(), b.vault.explain(err))
	}
	defer func() {
		b.writer.Abort()
		b.leavesPacks(b.writer.Stats().PackBytes)
	}()
	return because(lock.Context(), write(lock.Context()))
}

// look reads what is there: the snapshots, then the index, then what the last good snapshot of this job held.
func (b *backupRun) look(ctx context.Context) error {
	b.setStep("loading the index")
	var err error
	if b.seen, err = b.vault.look(ctx, b.runner, b.repo, false); err != nil {
		return err
	}
	if b.seen.damaged != nil {
		b.log.Warn("there are snapshots that cannot be read; run a check", "error", b.seen.damaged)
	}
	all := b.seen.snapshots
	if err := b.repo.LoadIndex(ctx); err != nil {
		return err
	}
	b.vault.indexed.Store(true)
	if b.parent = newestGood(all, b.job.Name, b.setup.Host); b.parent == nil || imported(*b.parent) {
		b.parent = nil // of an imported one there is nothing to compare but a single part
		return nil
	}
	if !b.repo.Lists(*b.parent) && !b.mended {
		return fmt.Errorf("%w: no index file lists what is in snapshot %s", repo.ErrIndex, b.parent.ID.Short())
	}
	if b.before, err = loadManifest(ctx, b.repo, *b.parent); err != nil && ctx.Err() == nil {
		b.log.Warn("cannot compare with the last snapshot", "snapshot", b.parent.ID.Short(), "error", err)
	}
	return nil
}

func (b *backupRun) count() Progress {
	s := b.writer.Stats()
	return Progress{Files: s.Files, Bytes: s.BytesRead, New: s.BytesNew, Stored: s.BytesStored}
}

// write dumps all parts, describes them, and commits.
func (b *backupRun) write(ctx context.Context) error {
	doubts, err := b.gather(ctx)
	if err != nil {
		return err
	}
	return b.commit(ctx, doubts)
}

// gather dumps all parts and describes them.
func (b *backupRun) gather(ctx context.Context) (suspicion, error) {
	if err := b.openFolder(); err != nil {
		return nil, err
	}
	doubts, err := b.between(ctx, b.dumpAll)
	if err != nil {
		return nil, err
	}
	b.manifest.Ended = b.service.now().UTC()
	doubts = append(doubts, b.suspicions()...)
	if doubts != nil {
		b.manifest.Outcome, b.manifest.Doubts = string(StateSuspect), doubts
	}
	return doubts, b.describe()
}

// dumpAll dumps one part after the other.
func (b *backupRun) dumpAll(ctx context.Context) error {
	parts, err := b.parts(ctx)
	if err != nil {
		return err
	}
	for _, p := range parts {
		b.setStep("dumping " + p.Name)
		if err := b.dump(ctx, p); err != nil {
			return fmt.Errorf("%s (source %s): %w", p.Name, p.source.Name, err)
		}
	}
	return nil
}

// openFolder begins the job's folder, and what will describe it.
func (b *backupRun) openFolder() (err error) {
	b.manifest = Manifest{
		Format: manifestFormat, Job: b.job.Name, Run: b.run.ID, Host: b.setup.Host, Started: b.start.UTC(),
		Outcome: string(StateOK), Chunker: repo.ChunkerVersion, Versions: maps.Clone(b.setup.Versions),
		Drilled: drilled(b.service.allRuns(), b.job.Name), RestoredThen: b.then,
	}
	folder := b.node(b.job.Name)
	folder.Mode = fs.ModeDir | 0o755
	if b.folder, err = b.writer.Root().Mkdir(folder); err != nil {
		return err
	}
	b.sums.to, err = b.folder.Create(b.node(sumsName))
	return err
}

// describe adds the two files about all the others.
func (b *backupRun) describe() error {
	b.setStep("storing the snapshot")
	data, err := json.MarshalIndent(b.manifest, "", "  ")
	if err != nil {
		return err
	}
	f, err := b.folder.Create(b.node(manifestName))
	if err != nil {
		return err
	}
	if _, err := f.Write(append(data, '\n')); err != nil {
		return err
	}
	sum, err := closeFile(f)
	if err != nil {
		return err
	}
	b.sums.add(manifestName, sum)
	if err := b.sums.close(); err != nil {
		return err
	}
	_, err = b.folder.Close()
	return err
}

// store makes the snapshot. When it returns nil the snapshot is durable.
func (b *backupRun) store(ctx context.Context, tags ...string) (repo.Snapshot, error) {
	if !b.ours() {
		return repo.Snapshot{}, errTakenOver
	}
	if ctx.Err() != nil {
		return repo.Snapshot{}, context.Cause(ctx)
	}
	s := repo.Snapshot{
		Time: b.start.In(b.job.Zone), Paths: []string{"/" + b.job.Name}, Hostname: b.setup.Host, Username: userName(),
		UID: uint32(max(os.Getuid(), 0)), GID: uint32(max(os.Getgid(), 0)),
		Tags:           append([]string{tagOurs, tagRun + b.run.ID}, tags...),
		ProgramVersion: strings.TrimSpace("caddy-backup " + b.setup.Versions["caddy-backup"]),
	}
	if b.parent != nil {
		s.Parent = &b.parent.ID
	}
	s, err := b.writer.Commit(s)
	if err != nil {
		return s, b.vault.explain(err)
	}
	b.leavesSnapshots(1, s)
	b.vault.made(context.WithoutCancel(b.ctx), b.setup, b.seen, s)
	return s, nil
}

// commit makes the snapshot of the run. Nothing that happens later makes it anything but ok, or suspect.
func (b *backupRun) commit(ctx context.Context, doubts suspicion) error {
	var tags []string
	if doubts != nil {
		tags = append(tags, tagSuspect)
	}
	s, err := b.store(ctx, tags...)
	if err != nil {
		return err
	}
	unchanged := b.before != nil && sameContent(&b.manifest, b.before)
	b.update(func(run *Run) {
		b.good, b.doubts = true, doubts.about(b.vault, s.ID)
		run.Doubts = doubts
		run.Snapshot, run.Unchanged, run.Summary = s.ID.String(), unchanged, b.summary(s, unchanged)
	})
	b.log.Info("snapshot stored", "snapshot", s.ID.Short(), "unchanged", unchanged)
	return nil
}

// summary says what the snapshot is.
func (b *backupRun) summary(s repo.Snapshot, unchanged bool) string {
	stats := b.writer.Stats()
	text := fmt.Sprintf("snapshot %s was made: %s read, %s new", s.ID.Short(), humanize.IBytes(uint64(stats.BytesRead)),
		humanize.IBytes(uint64(stats.BytesNew)))
	if unchanged {
		text += "; nothing changed since the last good one"
	}
	return text
}

// node is the metadata of a file of ours.
func (b *backupRun) node(name string) repo.Node {
	t := b.start.UTC()
	return repo.Node{
		Name: name, Mode: 0o644, ModTime: t, AccessTime: t, ChangeTime: t, User: userName(),
		UID: uint32(max(os.Getuid(), 0)), GID: uint32(max(os.Getgid(), 0)),
	}
}

// closeFile ends a file and waits until it is hashed, and on its way.
func closeFile(f *repo.FileWriter) (repo.FileSum, error) {
	if err := f.Close(); err != nil {
		return repo.FileSum{}, err
	}
	return f.Sum()
}
