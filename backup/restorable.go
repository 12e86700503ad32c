package backup

import (
	"context"
	"errors"
	"io"

	"github.com/caddy-backup/caddy-backup/repo"
)

// What only some sources can do with what they dumped, found by assertion. Their methods may be called at once.

// Stored describes a dump to the source that is to bring it back.
type Stored struct {
	Part
	Facts Facts  // what was found out when it was dumped; empty of a file that none of our runs dumped
	Size  int64  // bytes, of a folder the sum of its files; 0 when unknown
	Files int64  // in a folder
	Sub   string // of a folder: what in it is meant, "2024/a.jpg", with slashes; empty: all of it
}

// Over says how a live one may be overwritten.
type Over struct {
	Force bool // although others use it
	Aside bool // no snapshot holds it as it is: it is kept beside the new one where that is possible, and the log says where

	// Undone is what a restore, which this one undoes, put there: the same folder, or what s.Sub names, in another snapshot of the same
	// repository. What of it was not there before, and is still as that restore left it, may go. nil: nothing is undone, or what it was
	// is not known any more.
	Undone *repo.Node
}

// ErrIncomplete is wrapped into the error of an Overwrite that could not leave the live one as it was. Its text says what is
// left; the way back is added by the run.
var ErrIncomplete = errors.New("the live one is incomplete")

// ErrAbsent is wrapped into what Ready returns of a live one that is certainly not there, when nothing else is in the way.
var ErrAbsent = errors.New("does not exist")

// Replaceable is a Source of which the live one, that it dumps, can be replaced by a dump: an Overwriter, a
// FolderOverwriter, or both.
type Replaceable interface {
	Source
	// Live names what would be replaced, as a person types it to confirm: "/srv/blog/db.sqlite3", "shop". It is never empty,
	// holds no secret, touches nothing, and names a path or a database completely.
	Live(s Stored) string
	// Ready looks, before anything is touched, for what would keep the live one from being replaced: privileges, space, an
	// older server (an error) or a newer one (a warning in the log), a database that others have open (ErrConflict, unless
	// o.Force). It changes nothing. That the live one is broken is no reason. Of one that is missing it returns ErrAbsent, when
	// that is certain: where it would be answers, and has no such thing. It is made then without a safety snapshot.
	Ready(ctx context.Context, s Stored, o Over, t *Task) error
}

// Overwriter is a Source that can put a dump into the place of what it dumps.
type Overwriter interface {
	Replaceable
	// Overwrite replaces the live one, in one transaction or by a switch where the engine has it. Only an end of r that is
	// io.EOF says that the dump is whole: nothing is committed or switched before it. After an error the live one is as it
	// was before, also when ctx ended, or the error is ErrIncomplete. It leaves no process behind, and no file but what
	// o.Aside asks for; what the source's dumps leave out no safety snapshot holds, so that stays, in place or aside.
	Overwrite(ctx context.Context, s Stored, r io.Reader, o Over, t *Task) error
}

// FolderOverwriter is a Source that can put a folder, or something in it, into the place of what it dumps.
type FolderOverwriter interface {
	Replaceable
	// OverwriteFolder is Overwrite for a node of a snapshot in r: the folder itself, or what s.Sub names.
	OverwriteFolder(ctx context.Context, s Stored, r *repo.Repository, node repo.Node, o Over, t *Task) error
}

// Scratch is where a drill may restore to. No two drills have the same.
type Scratch struct {
	Name string // for a database: ScratchPrefix and what makes it unique; at most 60 of a-z, 0-9 and _
	Dir  string // for files: a new, empty, private folder of this machine. The run removes it, also after a crash
}

// Driller is a Source that can try a dump out.
type Driller interface {
	Source
	// Drill restores a dump into a scratch place of its own making, which can never be what it dumps, has its engine check
	// it, finds out of the restored one what Dump finds out of the live one (Facts.Engine, Checked, Rows, Digests: the run
	// compares these with s.Facts), and takes it away again, whatever happened and also when ctx ended. An error says why
	// the dump cannot be restored, and what is left behind if anything is.
	Drill(ctx context.Context, s Stored, r io.Reader, at Scratch, t *Task) (Facts, error)
}

// FolderDriller is a Source that can try a folder out.
type FolderDriller interface {
	Source
	// DrillFolder is Drill for a folder of a snapshot in r. It compares what it restored with the folder itself.
	DrillFolder(ctx context.Context, s Stored, r *repo.Repository, folder repo.Node, at Scratch, t *Task) (Facts, error)
}

// DrillSweeper is a Driller whose scratch places lie where they outlive a killed process: databases of a server.
type DrillSweeper interface {
	Source
	// SweepDrills removes the scratch places that killed drills left behind: those for whose names abandoned is true, and no
	// others. It is called before a drill of the source.
	SweepDrills(ctx context.Context, abandoned func(name string) bool, t *Task) error
}
