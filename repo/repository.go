// Package repo reads and writes repositories in restic's format: version 2 is written, versions 1 and 2 are read.
// It knows storages only by the Storage interface, and nothing of Caddy, of jobs, or of programs.
package repo

import (
	"context"
	"log/slog"
	"time"
)

// Options belong to an open repository. The zero value is ready to use.
type Options struct {
	Logger      *slog.Logger     // default: discard
	Now         func() time.Time // default: time.Now
	Compression Compression      // default: CompressionAuto
	PackSize    int              // target size of packs in bytes, 4 MiB to 128 MiB; default 16 MiB
	Cores       int              // workers per operation; default GOMAXPROCS
	Hostname    string           // written into locks and keys; default os.Hostname
	Journal     LockJournal      // told of the own lock files; default none
	Location    string           // what people know the repository by, for messages; never a secret
}

// LockJournal remembers the lock files that this process made, so that after a crash exactly those can be removed.
// Add is called before the lock file is written, Remove after it is deleted.
type LockJournal interface {
	Add(lock ID) error
	Remove(lock ID) error
}

// Compression says how blobs are compressed (restic's words).
type Compression string

// The three levels of restic 0.14.
const (
	CompressionAuto Compression = "auto" // zstd, default level
	CompressionOff  Compression = "off"  // data blobs stored plain; trees and unpacked files are compressed all the same
	CompressionMax  Compression = "max"  // zstd, best level
)

// Repository is an open repository: its key, its configuration and its index in memory. All methods may be called at
// once. It holds no resource that must be closed.
type Repository struct {
	storage Storage
	key     *masterKey
	config  Config
	index   *index
	opt     Options
}

// Init creates a repository and opens it. Where any of config, keys or snapshots exists already it fails with
// ErrExists and changes nothing.
func Init(ctx context.Context, st Storage, password []byte, o Options) (*Repository, error) {
	panic("to come")
}

// Open opens the repository with a password. It fails with ErrNoRepository, ErrWrongPassword, ErrDamaged or
// ErrUnsupported. Damaged key files are passed over while another opens. The index is not loaded yet.
func Open(ctx context.Context, st Storage, password []byte, o Options) (*Repository, error) {
	panic("to come")
}

// LoadIndex brings the index in memory up to date with the storage: new index files are loaded, vanished ones
// forgotten. Call it after Lock and after listing snapshots.
func (r *Repository) LoadIndex(ctx context.Context) error { panic("to come") }

// Config returns the repository's configuration.
func (r *Repository) Config() Config { panic("to come") }

// Snapshots returns all readable snapshots, newest first, ties by ID. Decoded ones are kept in memory, so that asking
// again costs one listing. When some cannot be read it returns the others together with an error that names the bad
// files (errors.Is ErrDamaged); an error of the storage itself returns no snapshots.
func (r *Repository) Snapshots(ctx context.Context) ([]Snapshot, error) { panic("to come") }

// FindSnapshot finds one snapshot by its ID, its stable ID (Original), a prefix of either that fits one snapshot, or
// "latest" (the newest that passes filter). ErrNotFound, ErrAmbiguous.
func (r *Repository) FindSnapshot(ctx context.Context, name string, filter SnapshotFilter) (Snapshot, error) {
	panic("to come")
}

// Lock takes a lock that restic respects, and refreshes it until Unlock. A conflict is a *LockedError.
func (r *Repository) Lock(ctx context.Context, exclusive bool) (*Lock, error) { panic("to come") }
