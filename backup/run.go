package backup

import (
	"errors"
	"time"

	"github.com/caddy-backup/caddy-backup/repo"
)

// Run is one execution of anything, as it stands now or as it ended.
type Run struct {
	ID         string            `json:"id"`   // sorts by time of creation
	Kind       Kind              `json:"kind"` // backup, restore, check
	Job        string            `json:"job,omitempty"`
	Repository string            `json:"repository"`
	By         string            `json:"by"`               // who asked: a user's name, "command line", "admin"
	Member     string            `json:"member,omitempty"` // in a cluster: which process of which machine makes it, "web1/4711"
	State      State             `json:"state"`
	Created    time.Time         `json:"created"`
	Started    time.Time         `json:"started,omitzero"`
	Ended      time.Time         `json:"ended,omitzero"`
	Scheduled  time.Time         `json:"scheduled,omitzero"` // the time of the schedule that it was started for
	Again      bool              `json:"again,omitempty"`    // of a backup: a person asked a server for it; should it be interrupted, it is made again
	Follows    bool              `json:"follows,omitempty"`  // of a forget: started by itself, after a good backup; of a prune: after such a forget
	Step       string            `json:"step,omitempty"`     // what it is doing: "dumping db.dump", "waiting for …"
	Error      string            `json:"error,omitempty"`    // why it is not ok; nothing in it that a program said
	Output     string            `json:"output,omitempty"`   // the last that a program said which failed; only when one run is asked for
	Code       string            `json:"code,omitempty"`     // of an error that fronts tell apart, see codeOf
	Summary    string            `json:"summary,omitempty"`  // what came of it, in one plain sentence; of runs that are ok, or suspect
	Progress   Progress          `json:"progress"`
	Snapshot   string            `json:"snapshot,omitempty"`         // ID of the snapshot made or restored
	Unchanged  bool              `json:"unchanged,omitempty"`        // the parts are equal to those of the job's last good snapshot
	ReadData   bool              `json:"read_data,omitempty"`        // of a check: the data are read too, not the structure alone
	Subset     string            `json:"read_data_subset,omitempty"` // of a check that reads data: how much of them, see CheckRequest; empty = all
	ReadAgain  bool              `json:"read_again,omitempty"`       // of a check that reads data: it reads all packs again that earlier ones found damaged
	Findings   []Finding         `json:"findings,omitempty"`         // of a check, or a repair
	Spoilt     []string          `json:"spoilt,omitempty"`           // of a repair: stable IDs of the snapshots that lost something
	DryRun     bool              `json:"dry_run,omitempty"`          // nothing was changed
	Removed    []RemovedSnapshot `json:"removed,omitempty"`          // of a forget
	Prune      *repo.PruneReport `json:"prune,omitempty"`            // of a prune
	Drill      []Evidence        `json:"drill,omitempty"`            // of a drill: what it found out, by part
	Chosen     bool              `json:"chosen,omitempty"`           // of a drill: of a snapshot that a person chose; it says nothing of the job
	Path       string            `json:"path,omitempty"`             // of a restore: what of the snapshot; empty or "/" = all of it
	Place      string            `json:"place,omitempty"`            // of a restore that replaces nothing: the folder, file or database that it makes
	Over       []string          `json:"over,omitempty"`             // of a restore: the live ones that it replaces
	Absent     []string          `json:"absent,omitempty"`           // of these: those that are not there, so that they are only made
	Force      bool              `json:"force,omitempty"`            // of these: although others use them
	Confirm    string            `json:"confirm,omitempty"`          // of these: what must be typed to confirm
	Safety     string            `json:"safety,omitempty"`           // of these: ID of the snapshot of what they were before
	Touched    bool              `json:"touched,omitempty"`          // of these: it has begun; when it did not end well, look at them
	Undo       string            `json:"undo,omitempty"`             // of these: the command that brings back what was before
	Seen       *Sight            `json:"seen,omitempty"`             // what it left in the repository, if it looked; never changed
	Doubts     []string          `json:"doubts,omitempty"`           // of a backup: why it is suspect, or was until a person accepted its snapshot
	AcceptedBy string            `json:"accepted_by,omitempty"`      // who that was; since then it is ok
	Log        []LogLine         `json:"log,omitempty"`              // only when one run is asked for; the last 500 lines
}

// Progress counts bytes of a run. Total is 0 when unknown.
type Progress struct {
	Files  int64 `json:"files"`
	Bytes  int64 `json:"bytes"`  // read from the sources, or written to the target, or verified
	Total  int64 `json:"total"`  // expected, where known
	New    int64 `json:"new"`    // of these, not in the repository before
	Stored int64 `json:"stored"` // what the new ones take there
}

// Finding is a problem that a check found.
type Finding struct {
	File  string `json:"file,omitempty"`
	Error bool   `json:"error"`
	Text  string `json:"text"`
}

// LogLine is one line of a run's log.
type LogLine struct {
	Time  time.Time `json:"time"`
	Level string    `json:"level"` // INFO, WARN, ERROR
	Text  string    `json:"text"`
}

// Kind is what a run does.
type Kind string

// The kinds of runs.
const (
	KindBackup  Kind = "backup"
	KindRestore Kind = "restore"
	KindCheck   Kind = "check"
	KindForget  Kind = "forget" // what retention says, and the deletion of single snapshots
	KindKeep    Kind = "keep"   // a snapshot is pinned, or no longer
	KindAccept  Kind = "accept" // a person says that a suspect snapshot is good
	KindPrune   Kind = "prune"
	KindRepair  Kind = "repair"
	KindImport  Kind = "import"
	KindDrill   Kind = "drill"
	KindAfter   Kind = "after" // the programs that come after dumps, of a run that was interrupted before it had run them
	KindKeys    Kind = "keys"  // a password added, removed or changed
)

// Kinds are all kinds of runs.
var Kinds = []Kind{KindBackup, KindRestore, KindCheck, KindForget, KindKeep, KindAccept, KindPrune, KindRepair, KindImport, KindDrill, KindAfter, KindKeys}

// State is where a run stands.
type State string

// A run is queued, then running, then ends as one of the others. Only ok is green: suspect is a snapshot that was made,
// but looks as if its source was not there.
const (
	StateQueued      State = "queued"
	StateRunning     State = "running"
	StateOK          State = "ok"
	StateSuspect     State = "suspect"
	StateFailed      State = "failed"
	StateCancelled   State = "cancelled"   // by a person
	StateInterrupted State = "interrupted" // the server stopped or died
)

// Done reports whether the run has ended.
func (s State) Done() bool { return s != StateQueued && s != StateRunning }

// CodeIncomplete is the Code of a run that left a live one neither as it was nor replaced.
const CodeIncomplete = "incomplete"

// codeOf names the errors of the repository by which a command line chooses its exit code; "" for all others. The names
// are those of the API.
func codeOf(err error) string {
	switch {
	case errors.Is(err, repo.ErrNoRepository):
		return "no_repository"
	case errors.Is(err, repo.ErrLocked):
		return "locked"
	case errors.Is(err, repo.ErrWrongPassword):
		return "wrong_password"
	case errors.Is(err, ErrRefused):
		return "refused"
	case errors.Is(err, ErrIncomplete):
		return CodeIncomplete
	}
	return ""
}
