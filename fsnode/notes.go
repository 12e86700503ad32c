package fsnode

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"os/user"
	"strconv"
)

// maxNotes is how many lines a person gets to read; the log has them all.
const maxNotes = 20

// notes collects what a person should know.
type notes struct {
	log   *slog.Logger
	lines []string
	total int
}

func newNotes(log *slog.Logger) *notes {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	return &notes{log: log}
}

func (n *notes) add(format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	n.log.Warn(text)
	if n.total++; len(n.lines) < maxNotes {
		n.lines = append(n.lines, text)
	}
}

// all returns at most maxNotes lines; the last one says how many there were more.
func (n *notes) all() []string {
	if n.total > maxNotes {
		n.lines[maxNotes-1] = fmt.Sprintf("and %d more; the log has them all", n.total-maxNotes+1)
	}
	return n.lines
}

// bare strips an error of the file system of its own path, which may be one through a descriptor.
func bare(err error) error {
	if e, ok := errors.AsType[*fs.PathError](err); ok {
		return e.Err
	}
	if e, ok := errors.AsType[*os.LinkError](err); ok {
		return e.Err
	}
	return err
}

// readable turns an error of reading the file at path into one that names it and, when we may not read it, who we are
// and the way out. rel is its path below the folder that is saved, if it is.
func readable(err error, path, rel string) error {
	err = fmt.Errorf("read %s: %w", path, bare(err))
	if rel == "" && errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%w; correct the path, mount the disk that it lies on, or restore what is lost (--overwrite)", err)
	}
	if !errors.Is(err, fs.ErrPermission) {
		return err
	}
	exclude := ""
	if rel != "" {
		exclude = fmt.Sprintf("; or leave it out with: exclude /%s", rel)
	}
	if os.Getuid() == 0 {
		return fmt.Errorf("%w; we run as root, so look at its mount: findmnt -T %s%s", err, path, exclude)
	}
	name := runningAs()
	return fmt.Errorf("%w; we run as user %s (uid %d): let it read with: setfacl -m u:%s:rX %s; or: chmod o+rX %s%s",
		err, name, os.Getuid(), name, path, path, exclude)
}

// runningAs is the name, or else the number, of the user that this process is.
func runningAs() string {
	uid := strconv.Itoa(os.Getuid())
	if u, err := user.LookupId(uid); err == nil {
		return u.Username
	}
	return uid
}
