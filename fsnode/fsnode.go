// Package fsnode stands between the nodes of a repository and the files of this machine: it writes folders into
// snapshots and snapshots into folders, with all the metadata that restic keeps.
package fsnode

import (
	"context"
	"log/slog"
	"os"

	"github.com/caddy-backup/caddy-backup/repo"
)

// SaveOptions choose what of a folder is saved.
type SaveOptions struct {
	Exclude []string // patterns, see Match
	Skip    []string // absolute paths that are left out: our own repositories and password files
	Log     *slog.Logger
}

// Saved counts what was saved.
type Saved struct {
	Files, Folders, Others int64
	Bytes                  int64
	Notes                  []string // what a person should know: vanished files, sockets, at most 20
}

// Node reads the metadata of the file or folder at path: everything but its content.
func Node(path string) (repo.Node, error) { panic("to come") }

// Save writes what the folder at root holds into dir. A file that cannot be read is an error that names it, the user we
// run as, and what to do; one that vanished meanwhile is a note.
func Save(ctx context.Context, root string, dir *repo.Dir, o SaveOptions) (Saved, error) {
	panic("to come")
}

// Restored counts what was restored.
type Restored struct {
	Files, Folders, Others int64
	Bytes                  int64
	Notes                  []string // owners that could not be set, at most 20
}

// RestoreOptions follow a restore.
type RestoreOptions struct {
	Log      *slog.Logger
	Progress func(bytes int64) // added bytes; called from one goroutine at a time
}

// Restore writes node (a file, or a folder with everything below it) into the folder that root is, under its name.
// Nothing that exists is overwritten; nothing is ever written outside root, also through links. Content, mode, times,
// owner (when allowed), links, hard links, devices and extended attributes are as they were.
func Restore(ctx context.Context, r *repo.Repository, node repo.Node, root *os.Root, o RestoreOptions) (Restored, error) {
	panic("to come")
}
