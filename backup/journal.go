package backup

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"sync"

	"github.com/caddy-backup/caddy-backup/repo"
)

// journal is this process's list of what it must not leave behind: locks in repositories, groups of child processes, and
// programs that it owes to jobs whose dumps have begun. It is one file per process in DataDir/journal, since a command line may
// work beside the server. The process holds a lock of the operating system on its file for as long as it lives, so that others
// can tell, even from another container, whether it does; what it says about itself (boot, process ID, start time) must agree.
//
// The file is a header and one line per event. It begins under a temporary name and gets its own when it is locked and
// has its header. It is written before the thing that it tells of is done, and cut back to the header whenever nothing
// is left. A line that a crash tore is the last one and is passed over.
//
//	{"boot":"…","pid":7,"start":123,"namespace":"pid:[4026531836]"}
//	{"lock":"<id>","at":"/srv/backups"}
//	{"group":4711,"start":456}
//	{"ended":4711}
//	{"unlock":"<id>"}
//	{"owed":{"run":"<id>","job":"shop"}}
//	{"paid":"<id>"}
type journal struct {
	dir string // "" keeps no journal
	log *slog.Logger

	mu   sync.Mutex
	file *os.File // open since the first entry
	name string
	head int64 // length of the header
	left leftover
	held map[string]map[*holder]bool // who holds or takes a lock, by location
}

// event is a line of a journal.
type event struct {
	Lock   *repo.ID `json:"lock,omitempty"`
	At     string   `json:"at,omitempty"`
	Unlock *repo.ID `json:"unlock,omitempty"`
	Group  int      `json:"group,omitempty"`
	Start  uint64   `json:"start,omitempty"`
	Ended  int      `json:"ended,omitempty"`
	Owed   *debt    `json:"owed,omitempty"`
	Paid   string   `json:"paid,omitempty"`
}

// leftover is what a journal says that exists.
type leftover struct {
	locks  map[repo.ID]string // locations
	groups map[int]uint64     // start times of the leaders; 0 when unknown
	owed   map[string]debt    // by run
}

func newLeftover() leftover {
	return leftover{map[repo.ID]string{}, map[int]uint64{}, map[string]debt{}}
}

func (l leftover) empty() bool { return len(l.locks) == 0 && len(l.groups) == 0 && len(l.owed) == 0 }

// locksAt lists the locks in one repository.
func (l leftover) locksAt(location string) []repo.ID {
	return slices.DeleteFunc(slices.Collect(maps.Keys(l.locks)), func(id repo.ID) bool { return l.locks[id] != location })
}

func (l leftover) apply(e event) {
	switch {
	case e.Lock != nil:
		l.locks[*e.Lock] = e.At
	case e.Unlock != nil:
		delete(l.locks, *e.Unlock)
	case e.Group != 0:
		l.groups[e.Group] = e.Start
	case e.Ended != 0:
		delete(l.groups, e.Ended)
	case e.Owed != nil:
		l.owed[e.Owed.Run] = *e.Owed
	case e.Paid != "":
		delete(l.owed, e.Paid)
	}
}

// newJournal prepares a journal in dataDir; nothing is written before the first entry.
func newJournal(dataDir string, log *slog.Logger) *journal {
	j := &journal{log: log, left: newLeftover(), held: map[string]map[*holder]bool{}}
	if dataDir != "" {
		j.dir = filepath.Join(dataDir, "journal")
	}
	return j
}

// id names this process's journal, by which others can ask whether the process lives. "" when there is none.
func (j *journal) id() string {
	j.mu.Lock()
	defer j.mu.Unlock()
	if err := j.begin(); err != nil {
		return ""
	}
	return j.name
}

// begin makes the file. The caller holds j.mu.
func (j *journal) begin() (err error) {
	if j.file != nil || j.dir == "" {
		return nil
	}
	if err := os.MkdirAll(j.dir, 0o700); err != nil {
		return err
	}
	f, err := os.CreateTemp(j.dir, ".new-*")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			f.Close()
			os.Remove(f.Name())
		}
	}()
	if _, err := lockFile(f); err != nil {
		j.log.Debug("this file system has no locks: leftovers of a crash are recognised by process IDs only", "error", err)
	}
	header, err := json.Marshal(thisProcess())
	if err != nil {
		return err
	}
	header = append(header, '\n')
	if _, err := f.Write(header); err != nil {
		return err
	}
	name := fmt.Sprintf("%d-%x", os.Getpid(), randomBytes(4))
	err = errors.Join(f.Sync(), os.Rename(f.Name(), filepath.Join(j.dir, name+journalSuffix)), syncDir(j.dir))
	if err != nil {
		return err
	}
	j.file, j.name, j.head = f, name, int64(len(header))
	return nil
}

const journalSuffix = ".json"

// note writes an event down. The caller holds j.mu.
func (j *journal) note(e event, durable bool) error {
	if err := j.begin(); err != nil {
		return err
	}
	j.left.apply(e)
	if j.file == nil {
		return nil
	}
	if j.left.empty() {
		if err := j.file.Truncate(j.head); err != nil {
			return err
		}
		_, err := j.file.Seek(j.head, io.SeekStart)
		return err
	}
	if err := appendEvent(j.file, e); err != nil {
		return err
	}
	if durable {
		return j.file.Sync()
	}
	return nil
}

func appendEvent(f *os.File, e event) error {
	line, err := json.Marshal(e)
	if err != nil {
		return err
	}
	end, err := f.Seek(0, io.SeekCurrent)
	if err != nil {
		return err
	}
	if _, err := f.Write(append(line, '\n')); err != nil { // half a line would swallow the next event
		_, seekErr := f.Seek(end, io.SeekStart)
		return errors.Join(err, f.Truncate(end), seekErr)
	}
	return nil
}

// locksAt lists the locks of this process in the repository at a location.
func (j *journal) locksAt(location string) []repo.ID {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.left.locksAt(location)
}

// lockJournal tells the journal of the locks in one repository.
type lockJournal struct {
	*journal
	location string
}

var _ repo.LockJournal = lockJournal{}

// Add makes a power cut no excuse: the line is durable before the lock is written.
func (l lockJournal) Add(id repo.ID) error {
	l.mu.Lock()
	err := l.note(event{Lock: &id, At: l.location}, true)
	holders := slices.Collect(maps.Keys(l.held[l.location]))
	l.mu.Unlock()
	if err != nil {
		return fmt.Errorf("note the own lock in %s: %w", l.dir, err)
	}
	var told sync.WaitGroup // at once: where nobody hears it, the lock must not be late by the patience of all
	for _, h := range holders {
		told.Go(h.noted)
	}
	told.Wait()
	return nil
}

// Remove may be lost: removing a lock that is gone is no error.
func (l lockJournal) Remove(id repo.ID) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.note(event{Unlock: &id}, false)
}

// removeLeft deletes locks of this process that nobody holds any more.
func (l lockJournal) removeLeft(ctx context.Context, r *repo.Repository, ids []repo.ID) error {
	if len(ids) == 0 {
		return nil
	}
	if err := r.RemoveLocks(ctx, ids); err != nil {
		return err
	}
	var failed []error
	for _, id := range ids {
		failed = append(failed, l.Remove(id))
	}
	return errors.Join(failed...)
}

// holder is a run that holds or takes a lock. It is told of each lock that was noted, before the lock is written.
type holder struct{ noted func() }

// enter counts a run that is about to take a lock, until it leaves. When no other has one there, left is what locks of this
// process are left all the same: their deletion had failed.
func (j *journal) enter(location string, noted func()) (left []repo.ID, leave func()) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if len(j.held[location]) == 0 {
		left, j.held[location] = j.left.locksAt(location), map[*holder]bool{}
	}
	h := &holder{noted}
	j.held[location][h] = true
	return left, func() {
		j.mu.Lock()
		defer j.mu.Unlock()
		delete(j.held[location], h)
	}
}

// Started implements ProcessJournal.
func (j *journal) Started(pgid int) (ended func()) {
	start, _ := startTime(pgid)
	j.mu.Lock()
	defer j.mu.Unlock()
	if err := j.note(event{Group: pgid, Start: start}, false); err != nil {
		j.log.Warn("cannot note a child process; after a crash it would have to be ended by hand", "error", err)
	}
	return sync.OnceFunc(func() {
		j.mu.Lock()
		defer j.mu.Unlock()
		if err := j.note(event{Ended: pgid}, false); err != nil {
			j.log.Warn("cannot note the end of a child process", "error", err)
		}
	})
}

var _ ProcessJournal = (*journal)(nil)

// close removes the file. With something left in it, it stays for the next process to find.
func (j *journal) close() {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.file == nil {
		return
	}
	err := j.file.Close()
	j.file = nil
	if j.left.empty() {
		err = errors.Join(err, os.Remove(filepath.Join(j.dir, j.name+journalSuffix)))
	}
	if err != nil {
		j.log.Warn("cannot close the journal", "error", err)
	}
}
