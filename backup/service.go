package backup

import (
	"context"
	"io"
	"iter"
	"time"

	"github.com/caddy-backup/caddy-backup/repo"
)

// Service does everything that the product does. One lives in a process; configurations come and go by Attach, runs
// outlive them.
type Service struct {
}

// New makes a Service that has no configuration yet. It does nothing before Attach: no goroutine, no file.
func New() *Service { panic("to come") }

// Attach makes c the current configuration, until the returned func is called; then the last one still attached is
// current again. Runs go on with what they were started with.
func (s *Service) Attach(c Config) (detach func(), err error) { panic("to come") }

// Close ends all runs as interrupted and waits for them, at most until ctx is done.
func (s *Service) Close(ctx context.Context) error { panic("to come") }

// JobStatus is a job as a list shows it.
type JobStatus struct {
	Name       string         `json:"name"`
	Enabled    bool           `json:"enabled"`
	Repository string         `json:"repository"`
	Sources    []SourceStatus `json:"sources"`
	Running    *Run           `json:"running,omitempty"`
	LastRun    *Run           `json:"last_run,omitempty"` // the last backup that ended
	LastGood   time.Time      `json:"last_good,omitzero"` // when the last ok backup ended
}

// SourceStatus is a source in a JobStatus.
type SourceStatus struct {
	Name string `json:"name"`
	Kind string `json:"kind"`
}

// Jobs lists the jobs in the order of the configuration. It asks no storage.
func (s *Service) Jobs(ctx context.Context) ([]JobStatus, error) { panic("to come") }

// Job is one of Jobs.
func (s *Service) Job(ctx context.Context, name string) (JobStatus, error) { panic("to come") }

// Backup starts a backup of a job and returns at once. by says who asked. ErrNotFound; ErrConflict (with the running
// run) when this job is being backed up already.
func (s *Service) Backup(ctx context.Context, by, job string) (Run, error) { panic("to come") }

// CheckRequest asks for a check of a repository.
type CheckRequest struct {
	Repository string `json:"repository"` // default "default", or the only one
	ReadData   bool   `json:"read_data"`
}

// Check starts a check and returns at once.
func (s *Service) Check(ctx context.Context, by string, q CheckRequest) (Run, error) {
	panic("to come")
}

// RestoreRequest asks for a restore: either as files below Target, or through the source into a new Place.
type RestoreRequest struct {
	Repository string `json:"repository"`
	Snapshot   string `json:"snapshot"`         // ID, prefix, or "latest" (then Job is needed)
	Job        string `json:"job,omitempty"`    // narrows "latest"
	Path       string `json:"path,omitempty"`   // part, or a path in it; empty = the whole snapshot
	Target     string `json:"target,omitempty"` // absolute path of a folder, created when missing; nothing in it is overwritten
	Place      string `json:"place,omitempty"`  // for the source: a new database's name, a new file's path; needs Path = one part
}

// Restore starts a restore and returns at once.
func (s *Service) Restore(ctx context.Context, by string, q RestoreRequest) (Run, error) {
	panic("to come")
}

// RunFilter narrows down runs.
type RunFilter struct {
	Job   string
	Kind  Kind
	Limit int // 0 = 100
}

// Runs lists runs, newest first, those going on included.
func (s *Service) Runs(ctx context.Context, f RunFilter) ([]Run, error) { panic("to come") }

// Run is one run with its log.
func (s *Service) Run(ctx context.Context, id string) (Run, error) { panic("to come") }

// Watch yields the run whenever it changed, at most a few times a second, until it has ended or ctx is done; the last
// value is the ended run.
func (s *Service) Watch(ctx context.Context, id string) iter.Seq2[Run, error] { panic("to come") }

// Cancel asks a run to end. It returns at once. ErrNotFound; ErrConflict when it has ended.
func (s *Service) Cancel(ctx context.Context, by, id string) error { panic("to come") }

// RepositoryStatus is a repository as a list shows it. It asks no storage.
type RepositoryStatus struct {
	Name              string `json:"name"`
	Location          string `json:"location"`
	ID                string `json:"id,omitempty"`                 // once it was opened
	GeneratedPassword string `json:"generated_password,omitempty"` // path of the file, when we made the password
	LastCheck         *Run   `json:"last_check,omitempty"`
}

// Repositories lists the repositories.
func (s *Service) Repositories(ctx context.Context) ([]RepositoryStatus, error) { panic("to come") }

// InitRepository creates a repository. repo.ErrExists when it is there.
func (s *Service) InitRepository(ctx context.Context, by, name string) (RepositoryStatus, error) {
	panic("to come")
}

// SnapshotQuery selects snapshots.
type SnapshotQuery struct {
	Repository string // default "default", or the only one
	Job        string // all jobs, and what others wrote, when empty
	Offset     int
	Limit      int // 0 = all
}

// Snapshot is a snapshot as a list shows it.
type Snapshot struct {
	ID         string    `json:"id"`
	StableID   string    `json:"stable_id"`
	Time       time.Time `json:"time"`
	Job        string    `json:"job,omitempty"` // empty: not made by us
	Run        string    `json:"run,omitempty"`
	Host       string    `json:"host"`
	Paths      []string  `json:"paths"`
	Tags       []string  `json:"tags"`
	Size       int64     `json:"size"`               // bytes of all files; 0 when unknown
	Added      int64     `json:"added"`              // bytes that were new then
	Stored     int64     `json:"stored"`             // what they take
	Parts      []Content `json:"parts,omitempty"`    // only when one snapshot is asked for
	Manifest   *Manifest `json:"manifest,omitempty"` // only when one snapshot is asked for, and it is ours
	Repository string    `json:"repository"`
}

// SnapshotList is a page of snapshots, newest first.
type SnapshotList struct {
	Total     int        `json:"total"`
	Snapshots []Snapshot `json:"snapshots"`
	Damaged   string     `json:"damaged,omitempty"` // snapshots that cannot be read, named
}

// Snapshots lists snapshots.
func (s *Service) Snapshots(ctx context.Context, q SnapshotQuery) (SnapshotList, error) {
	panic("to come")
}

// Snapshot finds one snapshot by ID, stable ID, prefix of either, or "latest" (of job, when given).
func (s *Service) Snapshot(ctx context.Context, repository, id, job string) (Snapshot, error) {
	panic("to come")
}

// Content is a file or folder in a snapshot.
type Content struct {
	Name   string    `json:"name"`
	Path   string    `json:"path"` // from the root of the snapshot: "/shop/db.dump"
	Type   string    `json:"type"` // file, dir, symlink …
	Size   int64     `json:"size"`
	Mode   string    `json:"mode"` // "-rw-r--r--"
	Time   time.Time `json:"time"`
	SHA256 string    `json:"sha256,omitempty"` // of parts that are files
	Target string    `json:"target,omitempty"` // of symlinks
}

// List lists a folder of a snapshot, in order of name.
func (s *Service) List(ctx context.Context, repository, id, path string) ([]Content, error) {
	panic("to come")
}

// Opened is a file of a snapshot, ready to be read. Close it.
type Opened struct {
	*repo.File
	Content
	Snapshot Snapshot
	Media    string // MIME type
	Filename string // for people who save it: <job>_<date>_<time>Z.<part>
	ETag     string // strong, quoted, from the content
}

// Open opens a file of a snapshot.
func (s *Service) Open(ctx context.Context, repository, id, path string) (*Opened, error) {
	panic("to come")
}

// Health is whether all is well, and if not, why.
type Health struct {
	OK      bool     `json:"ok"`
	Reasons []string `json:"reasons"` // "job shop: the last backup failed 3h ago: …"
}

// Health asks no storage. A job that never ran is not ill.
func (s *Service) Health(ctx context.Context) Health { panic("to come") }

// Manifest is manifest.json in a snapshot.
type Manifest struct {
	Format   int               `json:"format"` // 1
	Job      string            `json:"job"`
	Run      string            `json:"run"`
	Host     string            `json:"host"`
	Started  time.Time         `json:"started"`
	Ended    time.Time         `json:"ended"` // of the last dump
	Outcome  string            `json:"outcome"`
	Chunker  string            `json:"chunker"` // version of the chunker: "gear-1"
	Versions map[string]string `json:"versions"`
	Parts    []ManifestPart    `json:"parts"`
}

// ManifestPart is one part in the manifest.
type ManifestPart struct {
	Name   string `json:"name"`
	Source string `json:"source"` // the source's name in the job
	Kind   string `json:"kind"`
	Folder bool   `json:"folder,omitempty"`
	Media  string `json:"media,omitempty"`
	Size   int64  `json:"size"`             // bytes; of a folder: the sum of its files
	Files  int64  `json:"files,omitempty"`  // of a folder
	SHA256 string `json:"sha256,omitempty"` // of a file's content
	Tree   string `json:"tree,omitempty"`   // of a folder: the ID of its tree
	Facts
}

var _ io.Reader = (*Opened)(nil)
