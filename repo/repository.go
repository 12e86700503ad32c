// Package repo reads and writes repositories in restic's format: version 2 is written, versions 1 and 2 are read.
// It knows storages only by the Storage interface, and nothing of Caddy, of jobs, or of programs.
package repo

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// Options belong to an open repository. The zero value is ready to use.
type Options struct {
	Logger      *slog.Logger     // default: discard
	Now         func() time.Time // default: time.Now
	Compression Compression      // default: CompressionAuto
	PackSize    int              // target size of packs in bytes, 4 MiB to 128 MiB; default 16 MiB
	Cores       int              // workers per operation; default GOMAXPROCS
	ReadMemory  int64            // bytes that all readers together hold decoded; default 64 MiB, or 8 MiB per core
	CacheSize   int64            // bytes of decoded blobs kept for random access, beside those; default 64 MiB
	Hostname    string           // written into locks and keys; default os.Hostname
	Journal     LockJournal      // told of the own lock files; default none
	Location    string           // what people know the repository by, for messages; never a secret
	KDF         KDF              // cost of new key files; default restic's. Cheap ones are for tests only
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

// withDefaults fills in what the caller left out.
func (o Options) withDefaults() Options {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Compression == "" {
		o.Compression = CompressionAuto
	}
	if o.PackSize == 0 {
		o.PackSize = 16 << 20
	}
	if o.Cores <= 0 {
		o.Cores = runtime.GOMAXPROCS(0)
	}
	if o.ReadMemory <= 0 {
		o.ReadMemory = max(64<<20, int64(o.Cores)*(8<<20))
	}
	if o.CacheSize <= 0 {
		o.CacheSize = 64 << 20
	}
	if o.Hostname == "" {
		o.Hostname, _ = os.Hostname() // informational in keys and locks: an empty one is legal
	}
	if o.KDF == (KDF{}) {
		o.KDF = defaultKDF
	}
	return o
}

// validate refuses options that would fail much later, or make a repository that restic does not like.
func (o Options) validate() error {
	switch o.Compression {
	case CompressionAuto, CompressionOff, CompressionMax:
	default:
		return fmt.Errorf("compression %q: must be auto, off or max", o.Compression)
	}
	if o.PackSize < 4<<20 || o.PackSize > 128<<20 {
		return fmt.Errorf("pack size of %d bytes: must be between 4 MiB and 128 MiB", o.PackSize)
	}
	return o.KDF.validate()
}

// Repository is an open repository: its key, its configuration and its index in memory. All methods may be called at
// once. It holds no resource that must be closed.
type Repository struct {
	storage   Storage
	key       *masterKey
	config    Config
	index     *index
	rescued   rescue // beside the index, for readers
	opt       Options
	codecs    codecs
	snapshots snapshotCache
	buffers   bufferPool // of writers and readers
	readers   sync.Pool  // of *scratch
	memory    *readMemory
	cache     blobCache

	distrusted atomic.Pointer[[]ID] // see Distrust
}

// Init creates a repository and opens it. Where anything of a repository exists already (a config, key files,
// snapshots, index files or packs) it fails with ErrExists and changes nothing; only what an Init with the same
// password left when it was killed is completed.
func Init(ctx context.Context, st Storage, password []byte, o Options) (*Repository, error) {
	o = o.withDefaults()
	if err := o.validate(); err != nil {
		return nil, err
	}
	if len(password) == 0 {
		return nil, errors.New("cannot create a repository with an empty password")
	}
	r, err := initAt(ctx, st, password, o)
	if err != nil {
		return nil, fmt.Errorf("cannot create a repository%s: %w", o.at(), err)
	}
	return r, nil
}

// initAt writes the key file and then the config, whose presence is what makes the repository exist. A crash in between
// leaves one key file; the next Init with the same password takes it up, so that nobody has to clean up.
func initAt(ctx context.Context, st Storage, password []byte, o Options) (*Repository, error) {
	key, err := leftKey(ctx, st, password)
	if err != nil {
		return nil, err
	}
	if key == nil {
		if key, err = storeNewKey(ctx, st, password, o); err != nil {
			return nil, err
		}
	}
	config := newConfig()
	sealed, err := sealConfig(config, key)
	if err != nil {
		return nil, err
	}
	if err := st.Put(ctx, configName, sealed); err != nil {
		return nil, err
	}
	return newRepository(st, key, config, o), nil
}

// storeNewKey makes a master key and its first key file.
func storeNewKey(ctx context.Context, st Storage, password []byte, o Options) (*masterKey, error) {
	key, err := randomMasterKey()
	if err != nil {
		return nil, err
	}
	data, err := newKeyFile(key, password, o)
	if err != nil {
		return nil, err
	}
	return key, st.Put(ctx, keyName(Hash(data)), data)
}

// leftKey fails with ErrExists where anything of a repository is, but for one key file that the password opens: that is
// what an Init leaves that was cut off. An empty config is none: it is what a crash of a careless writer leaves.
func leftKey(ctx context.Context, st Storage, password []byte) (*masterKey, error) {
	config, err := StoredConfig(ctx, st)
	if err == nil && len(config) > 0 || errors.Is(err, ErrDamaged) {
		return nil, fmt.Errorf("%w: there is a config file", ErrExists)
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	for _, dir := range []string{"snapshots", "index", "data"} {
		for f, err := range st.List(ctx, dir) {
			if err != nil {
				return nil, fmt.Errorf("cannot list %s: %w", dir, err)
			}
			return nil, fmt.Errorf("%w: there is %s but no config file; restore that file, or choose another place", ErrExists, f.Name)
		}
	}
	keys, err := listFiles(ctx, st, "keys")
	if err != nil || len(keys) == 0 {
		return nil, err
	}
	key, err := readKey(ctx, st, keys[0], password)
	if err != nil || len(keys) > 1 {
		return nil, fmt.Errorf("%w: there are %d files in keys but no config file; restore that file, or choose another place",
			ErrExists, len(keys))
	}
	return key, nil
}

// Open opens the repository with a password. It fails with ErrNoRepository, ErrWrongPassword, ErrDamaged or
// ErrUnsupported. Damaged key files are passed over while another opens. The index is not loaded yet.
func Open(ctx context.Context, st Storage, password []byte, o Options) (*Repository, error) {
	o = o.withDefaults()
	if err := o.validate(); err != nil {
		return nil, err
	}
	sealed, err := StoredConfig(ctx, st)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, fmt.Errorf("%w%s: there is no config file; check the location, or create a repository first", ErrNoRepository, o.at())
	case err != nil:
		return nil, fmt.Errorf("cannot open the repository%s: %w", o.at(), err)
	case len(sealed) == 0:
		return nil, fmt.Errorf("%w%s: the config file is empty, creating it was interrupted", ErrNoRepository, o.at())
	}
	key, err := findKey(ctx, st, password, sealed)
	if err != nil {
		return nil, fmt.Errorf("cannot open the repository%s: %w", o.at(), err)
	}
	return newRepository(st, key.master, key.config, o), nil
}

func newRepository(st Storage, key *masterKey, config Config, o Options) *Repository {
	return &Repository{storage: st, key: key, config: config, index: newIndex(), rescued: rescue{index: newIndex()}, opt: o,
		memory: newReadMemory(o.ReadMemory), cache: blobCache{limit: int(o.CacheSize)}}
}

// Distrust says which packs a check found damaged, in place of those said before. Writers do not count on them: what a
// backup needs of them is stored once more, so that it is whole however bad the older ones are.
func (r *Repository) Distrust(packs []ID) {
	packs = slices.Clone(packs)
	r.distrusted.Store(&packs)
}

// Distrusted are the packs that Distrust was told of last.
func (r *Repository) Distrusted() []ID {
	if list := r.distrusted.Load(); list != nil {
		return slices.Clone(*list)
	}
	return nil
}

// StoredConfig reads the file whose presence makes a repository, as it is stored; fs.ErrNotExist when there is none. One
// that is too large to be a config is ErrDamaged, and is not read.
func StoredConfig(ctx context.Context, st Storage) ([]byte, error) {
	if _, err := st.Get(ctx, configName, 0, maxConfig+1); err == nil {
		return nil, fmt.Errorf("%w: the config file has more than %d bytes", ErrDamaged, maxConfig)
	} else if !errors.Is(err, io.ErrUnexpectedEOF) {
		return nil, err
	}
	return st.Get(ctx, configName, 0, -1)
}

// Config returns the repository's configuration.
func (r *Repository) Config() Config { return r.config }

// writable tells why nothing can be written into this repository, or nil.
func (r *Repository) writable() error {
	if r.config.Version < 2 {
		return fmt.Errorf("%w: the repository%s has version %d, which is only read; to write into it, upgrade it: "+
			"restic migrate upgrade_repo_v2", ErrUnsupported, r.at(), r.config.Version)
	}
	return nil
}

// at names the repository in a message, when the caller gave it a name.
func (o Options) at() string {
	if o.Location == "" {
		return ""
	}
	return " at " + o.Location
}

func (r *Repository) at() string { return r.opt.at() }
