package repo

import (
	"errors"
	"fmt"
	"strings"
	"time"
)

// The errors that callers tell apart. They come wrapped, with the name of the thing and what to do.
var (
	ErrNoRepository  = errors.New("no repository")             // there is no config file at this place
	ErrExists        = errors.New("repository already exists") // Init where something of a repository is
	ErrWrongPassword = errors.New("wrong password")            // no key file opens with this password
	ErrLocked        = errors.New("repository is locked")      // wraps into *LockedError
	ErrLockLost      = errors.New("repository lock was lost")  // the own lock vanished or could not be refreshed in time
	ErrDamaged       = errors.New("damaged")                   // stored bytes are not what they must be
	ErrUnsupported   = errors.New("unsupported")               // a repository version or key type that we do not know
	ErrNotFound      = errors.New("not found")                 // no such snapshot or path
	ErrAmbiguous     = errors.New("ambiguous")                 // a prefix fits several snapshots
	ErrIsFolder      = errors.New("is a folder")               // a file was wanted
	ErrNotFolder     = errors.New("is not a folder")           // a folder was wanted
)

// LockedError says who holds the locks that are in the way. errors.Is(err, ErrLocked) holds for it.
type LockedError struct {
	Location string // what the caller knows the repository by; may be empty
	Holders  []LockInfo
}

// LockInfo is a lock of anybody's, as its file tells it.
type LockInfo struct {
	ID        ID        `json:"id"`
	Time      time.Time `json:"time"`
	Exclusive bool      `json:"exclusive"`
	Hostname  string    `json:"hostname"`
	Username  string    `json:"username"`
	PID       int       `json:"pid"`
}

func (e *LockedError) Error() string {
	var b strings.Builder
	b.WriteString("repository is locked")
	for i, l := range e.Holders {
		kind := "a shared lock"
		if l.Exclusive {
			kind = "an exclusive lock"
		}
		if i > 0 {
			b.WriteString(";")
		}
		fmt.Fprintf(&b, " by process %d of %s on %s (%s, since %s)", l.PID, l.Username, l.Hostname, kind,
			l.Time.UTC().Format(time.RFC3339))
	}
	b.WriteString("; wait until it is done, or, if it is dead, run: restic unlock")
	return b.String()
}

// Unwrap makes errors.Is(err, ErrLocked) true.
func (e *LockedError) Unwrap() error { return ErrLocked }
