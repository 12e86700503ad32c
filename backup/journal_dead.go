package backup

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/caddy-backup/caddy-backup/repo"
)

// alive reports whether the process with this journal may still be there. Without a journal it is not: a process that
// ends takes its journal away.
func (j *journal) alive(id string) bool {
	if j.dir == "" || id == "" {
		return false
	}
	j.mu.Lock()
	own := j.file != nil && j.name == id
	j.mu.Unlock()
	if own {
		return true
	}
	dead, err := openDead(filepath.Join(j.dir, filepath.Base(id)+journalSuffix))
	if dead != nil {
		dead.file.Close()
		return false
	}
	return !errors.Is(err, fs.ErrNotExist)
}

// sweep cleans up behind processes that are provably dead: it ends their groups of children, and, when remove is not
// nil, has it delete exactly their locks in the repository at location. Every journal is kept until nothing is left.
func (j *journal) sweep(location string, remove func([]repo.ID) error) error {
	return j.eachDead(func(d *deadJournal) error { return d.clean(j.log, location, remove) })
}

// eachDead opens the journal of each process that is provably dead.
func (j *journal) eachDead(f func(*deadJournal) error) error {
	if j.dir == "" {
		return nil
	}
	entries, err := os.ReadDir(j.dir)
	if err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		return fmt.Errorf("look for leftovers of a crash: %w", err)
	}
	j.mu.Lock()
	own := j.name + journalSuffix
	j.mu.Unlock()
	var failed []error
	for _, e := range entries {
		if !strings.HasSuffix(e.Name(), journalSuffix) || e.Name() == own {
			continue
		}
		d, err := openDead(filepath.Join(j.dir, e.Name()))
		if err != nil {
			j.log.Debug("journal of another process", "file", e.Name(), "state", err)
			continue
		}
		failed = append(failed, f(d))
		d.file.Close()
	}
	return errors.Join(failed...)
}

// deadJournal is the open and locked journal of a process that is dead.
type deadJournal struct {
	file  *os.File
	owner process
	left  leftover
}

var errAlive = errors.New("its process lives, or may live")

// openDead opens another process's journal if that process is provably dead; else it says why not.
func openDead(path string) (_ *deadJournal, err error) {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			f.Close()
		}
	}()
	free, lockErr := lockFile(f)
	if lockErr == nil && !free {
		return nil, errAlive
	}
	d := &deadJournal{file: f, left: newLeftover()}
	if err := d.read(); err != nil {
		return nil, err
	}
	if !d.owner.dead(lockErr == nil) {
		return nil, errAlive
	}
	return d, nil
}

// read parses the file. What cannot be parsed behind the header was torn by the crash: it was written before the thing
// that it tells of was done.
func (d *deadJournal) read() error {
	data, err := io.ReadAll(io.LimitReader(d.file, 16<<20))
	if err != nil {
		return err
	}
	if err := d.parse(data); err != nil {
		return err
	}
	if !bytes.HasSuffix(data, []byte("\n")) { // what we append must not be torn as well
		_, err = d.file.WriteString("\n")
	}
	return err
}

func (d *deadJournal) parse(data []byte) error {
	lines := bufio.NewScanner(bytes.NewReader(data))
	if !lines.Scan() {
		return errors.New("no header")
	}
	if err := json.Unmarshal(lines.Bytes(), &d.owner); err != nil {
		return fmt.Errorf("header: %w", err)
	}
	for lines.Scan() {
		var e event
		if json.Unmarshal(lines.Bytes(), &e) == nil {
			d.left.apply(e)
		}
	}
	return nil
}

func (d *deadJournal) clean(log *slog.Logger, location string, remove func([]repo.ID) error) error {
	d.endGroups(log)
	ids := d.left.locksAt(location)
	if len(ids) > 0 && remove != nil {
		log.Info("removing the locks of an own process that is dead", "location", location, "pid", d.owner.PID,
			"locks", len(ids))
		if err := remove(ids); err != nil {
			return fmt.Errorf("remove the locks of the dead process %d: %w", d.owner.PID, err)
		}
		for _, id := range ids {
			delete(d.left.locks, id)
			if err := appendEvent(d.file, event{Unlock: &id}); err != nil {
				return err
			}
		}
	}
	return d.settle()
}

// settle removes a journal in which nothing is left. Groups are not: those that lived were ended, or were never ours.
func (d *deadJournal) settle() error {
	if len(d.left.locks) > 0 || len(d.left.owed) > 0 {
		return nil
	}
	return os.Remove(d.file.Name())
}

// endGroups kills the children that the dead process left: each group that it noted, only while its leader is proved to be the same
// process as then, and each of which one is proved to descend from it. Those may have no leader any more, for the kernel ends the
// programs themselves with us, and may never have been noted, for a program runs before its number is known.
func (d *deadJournal) endGroups(log *slog.Logger) {
	if !d.owner.here() {
		return // another boot or another container: they ended with it, and the numbers mean others now
	}
	groups := groupsOf(d.owner)
	for pgid, start := range d.left.groups {
		if now, there := startTime(pgid); start != 0 && there && now == start && !slices.Contains(groups, pgid) {
			groups = append(groups, pgid)
		}
	}
	for _, pgid := range groups {
		if pgid <= 1 || pgid == ownGroup() { // we may be one of them: started by a program of the dead one, to take its place
			continue
		}
		log.Warn("ending a process that an own process left behind", "group", pgid, "pid", d.owner.PID)
		killGroup(pgid)
	}
}
