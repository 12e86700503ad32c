// Package backup is the product without Caddy: jobs, their sources, the repositories they write to, runs and their
// history. Everything that a page, an API or a command line does is a method of Service.
package backup

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"time"

	"github.com/caddy-backup/caddy-backup/repo"
)

// The errors that fronts tell apart, besides those of package repo. They come wrapped.
var (
	ErrNotFound = errors.New("not found")     // no such job, run, repository, snapshot or file
	ErrInvalid  = errors.New("invalid")       // the request makes no sense; the message says why
	ErrConflict = errors.New("conflict")      // it is running already, or the target exists
	ErrClosed   = errors.New("shutting down") // no new work is taken
	ErrRefused  = errors.New("refused")       // it would delete what may be needed; the message says what to look at
)

// Config is everything that a Service is told by its configuration.
type Config struct {
	Host         string         // in snapshots; default: kept in DataDir since the first start, at first the machine's name
	Zone         *time.Location // default zone of jobs; default time.Local
	Repositories []RepositoryConfig
	Jobs         []Job
	Store        Store             // small things that outlive the process, maybe shared by several machines
	DataDir      string            // this machine's own folder: generated passwords, journals of processes
	Logger       *slog.Logger      // default: discard
	Versions     map[string]string // of programs around us, for the manifest: "caddy", "caddy-backup"
	Automatic    bool              // schedules run, and retention follows good backups; else nothing happens by itself
	Cluster      bool              // several processes share the Store, the Host and the jobs; then Host must be set, and Store be a Locker

	Notifiers []NamedNotifier
	PublicURL string // of the pages, for links in notifications: "https://backups.example.com"; may be empty

	// Trouble, if set, is what the front could not do for this configuration; Health tells it.
	Trouble string

	Remind time.Duration // how long after people were told of what is wrong they are told again; 0 = DefaultRemind; < 0: never

	// Alarm, if set, is told of each notification that is not the end of a run, whether or not anybody is told of it: overdue,
	// damage, maintenance_failed, stalled, and recovered where it comes from the watch. As Observe it may take its time.
	Alarm func(Notification)

	// Observe, if set, is told of each run that ended, once, one after another, in a goroutine of its own: it may take its
	// time. Of a run that was going on during a change of the configuration the new one is told.
	Observe func(Ending)
}

// RepositoryConfig says where a repository is and how it opens.
type RepositoryConfig struct {
	Name          string // "default" when there is one only
	Storage       Storage
	Password      []byte   // empty: generated once, when the repository is created, into DataDir
	PasswordFrom  string   // for people, where Password is kept: "the file /run/secrets/backup"; never a secret
	PasswordFiles []string // files that Password was read from, and is read from again at the next start
	Compression   repo.Compression
	PackSize      int // bytes; 0 = default
	Check         CheckPlan
	Prune         PrunePlan
	ReadOnly      bool // it is only read, by a recovery: where it cannot be locked, it is read without
}

// Storage is a repo.Storage that can say where it is.
type Storage interface {
	repo.Storage
	Location() string // as in a Caddyfile: "/srv/backups", "sftp://user@host/path"; never a secret
}

// Job is what belongs together: sources that are dumped into one snapshot.
type Job struct {
	Name    string // also the folder in the snapshot
	Sources []NamedSource
	To      string        // repository; default "default"
	Timeout time.Duration // of a whole run; 0 = DefaultTimeout
	Stall   time.Duration // without a sign of life, until a run is taken for hung; 0 = DefaultStall, < 0: never
	Off     bool          // neither scheduled nor run by "all jobs"; by name it still can be

	Schedule     Schedule       // zero: only when somebody asks
	Zone         *time.Location // of the schedule, of retention and of the times of snapshots; default Config.Zone
	Jitter       time.Duration  // scheduled runs begin up to so much later
	OverdueAfter time.Duration  // how long after a good backup the next is overdue; 0 = from the schedule, see overdueGrace

	Before, After []Hook // run before and after the dumps, in their order

	Drill Schedule // when the newest good snapshot is tried out; zero: only when somebody asks

	ShrinkLimit string         // by how much a part may shrink before a backup is suspect: "50%", "off"; "" = DefaultShrinkLimit
	Retention   *Retention     // nil: nothing is ever removed
	Notify      []Subscription // who is told of what
	MailTo      []string       // further addresses for mails, by the Mailers that Notify names, or the only one there is

	Added  *AddedJob // when it was added at run time; nil: the configuration has it
	Broken string    // why it cannot be loaded any more: its runs fail, and Health tells it

	// The form in which files are downloaded and mailed: one of DownloadFormats, default "none". Folders go as tar.gz.
	DownloadFormat string
}

// DefaultTimeout ends a run that hangs for ever.
const DefaultTimeout = 24 * time.Hour

// NamedSource is a source under the name that the user gave it.
type NamedSource struct {
	Name string // begins the names of its parts
	Kind string // "postgres", "sqlite", "files", "command" …
	Source
}

// Source is a thing that can be dumped to streams and rebuilt from them. Its methods may be called at once.
type Source interface {
	// Parts says what a dump will consist of, given the source's name: at least one part.
	Parts(ctx context.Context, name string) ([]Part, error)
	// Dump writes one part to w. It returns nil only if the dump is complete and its engine has verified it; everything
	// else, an early end, a warning exit status, is an error whose text names the thing and the way out. It leaves no
	// process and no file behind, also when ctx ends. Not called for folders.
	Dump(ctx context.Context, p Part, w io.Writer, t *Task) (Facts, error)
	// Restore rebuilds the source from a part, at a place that does not exist yet: a new database, a new file.
	// ErrConflict when it exists. After an error nothing is left at the place, or the error says what is.
	Restore(ctx context.Context, p Part, r io.Reader, place string, t *Task) error
}

// FolderSource is a Source that has parts which are folders.
type FolderSource interface {
	Source
	// DumpFolder writes a folder's content into dir and closes what it opens in it, but not dir itself.
	DumpFolder(ctx context.Context, p Part, dir *repo.Dir, t *Task) (Facts, error)
	// Root gives the metadata of the folder itself: the node under which dir stands.
	Root(p Part) (repo.Node, error)
}

// FolderRestorer is a FolderSource that can rebuild itself from its folders.
type FolderRestorer interface {
	FolderSource
	// RestoreFolder is Restore for a folder of a snapshot in r.
	RestoreFolder(ctx context.Context, p Part, r *repo.Repository, folder repo.Node, place string, t *Task) error
}

// Verifier is a Source that can judge a dump of its kind that it did not make itself.
type Verifier interface {
	// Verify reads a dump to the end of r. It returns nil only for one that is whole; Facts.Checked says how that was found
	// out. It leaves no process and no file behind, also when ctx ends.
	Verify(ctx context.Context, p Part, r io.Reader, t *Task) (Facts, error)
}

// Part is one dump of a source: a file or a folder in the snapshot, below the job's folder.
type Part struct {
	Name   string // "db.dump"; no slash
	Folder bool
	Media  string // MIME type of a file; default application/octet-stream
}

// Facts is what a source found out while it dumped; it goes into the manifest.
type Facts struct {
	Engine  string           `json:"engine,omitempty"`  // "PostgreSQL 15.18", "SQLite 3.46.0"
	Tool    string           `json:"tool,omitempty"`    // "pg_dump 15.18"
	Source  string           `json:"dumped,omitempty"`  // what was dumped, without secrets: "database shop on /run/postgresql"
	Checked string           `json:"checked,omitempty"` // how the dump was verified: "archive read to its end"
	Rows    map[string]int64 `json:"rows,omitempty"`    // per table, where cheap: exactly, as they are in the dump
	Notes   []string         `json:"notes,omitempty"`   // what a person should know: skipped files, tables without transactions

	// Digests of the content per table, where cheap: hexadecimal, and equal whenever the same source makes them of the same
	// content, also on another version of its engine.
	Digests map[string]string `json:"digests,omitempty"`
}

// Task is what a run lends to the source that it drives.
type Task struct {
	Log     *slog.Logger   // into the run's log and the server's
	Journal ProcessJournal // never nil

	life *life // of the run; nil when nobody watches
}

// ProcessJournal remembers child processes, so that after a crash the leftover ones can be ended. Started is called
// right after the start of a process group; the func it returns right after its end.
type ProcessJournal interface {
	Started(pgid int) (ended func())
}

// Store keeps small values by key, as certmagic.Storage does: Load of a missing key is fs.ErrNotExist.
type Store interface {
	Store(ctx context.Context, key string, value []byte) error
	Load(ctx context.Context, key string) ([]byte, error)
	Delete(ctx context.Context, key string) error
	List(ctx context.Context, prefix string, recursive bool) ([]string, error)
}
