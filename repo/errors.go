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
	ErrIndex         = fmt.Errorf("index is %w", ErrDamaged)   // index files are; RepairIndex makes them anew
	ErrUnsupported   = errors.New("unsupported")               // a repository version or key type that we do not know
	ErrNotFound      = errors.New("not found")                 // no such snapshot or path
	ErrAmbiguous     = errors.New("ambiguous")                 // a prefix fits several snapshots
	ErrIsFolder      = errors.New("is a folder")               // a file was wanted
	ErrKeyNeeded     = errors.New("key is needed")             // without it nobody could open the repository any more
	ErrTooManyKeys   = errors.New("too many keys")             // another password would not be tried any more
	ErrNotFolder     = errors.New("is not a folder")           // a folder was wanted
	ErrNoSnapshots   = errors.New("no snapshots")              // a prune would delete everything
)

// LockedError says who holds the locks that are in the way. errors.Is(err, ErrLocked) holds for it.
type LockedError struct {
	Location   string // what the caller knows the repository by; may be empty
	Holders    []LockInfo
	Unreadable []error // one for each lock file that cannot be read; it may be an exclusive one
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
	b.WriteString("repository")
	b.WriteString(Options{Location: e.Location}.at())
	b.WriteString(" is locked")
	sep := " "
	for _, l := range e.Holders {
		kind := "a shared lock"
		if l.Exclusive {
			kind = "an exclusive lock"
		}
		fmt.Fprintf(&b, "%sby process %d of %s on %s (%s, since %s)", sep, l.PID, l.Username, l.Hostname, kind,
			l.Time.UTC().Format(time.RFC3339))
		sep = "; "
	}
	for _, err := range e.Unreadable {
		fmt.Fprintf(&b, "%sby a lock that cannot be read (%v)", sep, err)
		sep = "; "
	}
	if len(e.Unreadable) > 0 {
		b.WriteString("; wait until it is done, or, if nobody works with the repository, remove all locks")
	} else {
		b.WriteString("; wait until it is done, or, if it is dead, unlock the repository")
	}
	return b.String()
}

// Unwrap makes errors.Is(err, ErrLocked) true.
func (e *LockedError) Unwrap() error { return ErrLocked }

// errorList is several errors in one line; errors.Is looks into each.
type errorList []error

func (l errorList) Error() string {
	var b strings.Builder
	for i, err := range l {
		if i > 0 {
			b.WriteString("; ")
		}
		b.WriteString(err.Error())
	}
	return b.String()
}

// Unwrap returns all of them.
func (l errorList) Unwrap() []error { return l }

// orNil is nil when there is none: an empty list must not become a non-nil error.
func (l errorList) orNil() error {
	if len(l) == 0 {
		return nil
	}
	return l
}
