package backup

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"time"
)

// waitingFor is how long a notification that nobody took is kept: later it is no news any more.
const waitingFor = 3 * oneDay

// letter is a notification that waits for its notifier, as it lies in the data folder: waiting/<time>.<journal>.json, where the
// journal is that of the process that carries it. When the process is gone the next server carries it on.
type letter struct {
	Notifier     string       `json:"notifier"`
	Queued       time.Time    `json:"queued"`
	Notification Notification `json:"notification"`
}

// letters makes names unique.
type letters struct{ last atomic.Int64 }

func (l *letters) path(dir, journal string, now time.Time) string {
	for {
		last := l.last.Load()
		next := max(now.UnixNano(), last+1)
		if l.last.CompareAndSwap(last, next) {
			return filepath.Join(dir, fmt.Sprintf("%020d.%s.json", next, journal))
		}
	}
}

func waitingDir(c *setup) string { return filepath.Join(c.DataDir, "waiting") }

// survives reports whether a notification is worth keeping over a restart. That something has begun, or does not move, is not so
// any more then.
func (n Notification) survives() bool { return n.Event != EventStart && n.Event != EventStalled }

// keepLetter writes a notification down until it is taken; "" when it is not kept.
func (s *Service) keepLetter(name string, n Notification) (path string) {
	s.mu.Lock()
	c, journal := s.lastSetup, s.journal
	s.mu.Unlock()
	if c == nil || c.DataDir == "" || journal == nil || journal.id() == "" || !n.survives() {
		return ""
	}
	path = s.letters.path(waitingDir(c), journal.id(), n.Queued)
	data, err := json.Marshal(letter{name, n.Queued, n})
	if err == nil {
		err = createFile(path, data, 0o600)
	}
	if err != nil {
		s.log.logger().Warn("cannot keep a notification; a restart would lose it", "notifier", name, "event", n.Event, "error", err)
		return ""
	}
	return path
}

// burn removes what was kept of a notification.
func (s *Service) burn(path string) {
	if path == "" {
		return
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		s.log.logger().Warn("cannot remove a notification that was delivered; a restart delivers it again", "error", err)
	}
}

// takeUp carries on what processes that are gone have left, oldest first.
func (s *Service) takeUp(c *setup) {
	if c.DataDir == "" || !c.Automatic {
		return
	}
	entries, err := os.ReadDir(waitingDir(c))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		s.log.logger().Warn("cannot read the notifications that wait", "error", err)
	}
	for _, e := range entries {
		if info, err := e.Info(); err == nil && strings.HasPrefix(e.Name(), ".new-") && s.now().Sub(info.ModTime()) > oneDay {
			s.burn(filepath.Join(waitingDir(c), e.Name())) // whoever began to write it was killed
		}
		_, journal, _ := strings.Cut(strings.TrimSuffix(e.Name(), ".json"), ".")
		if filepath.Ext(e.Name()) != ".json" || s.journal.alive(journal) {
			continue
		}
		s.takeUpLetter(c, filepath.Join(waitingDir(c), e.Name()))
	}
}

// takeUpLetter makes a letter ours, by its name, and carries it on. Of two servers that try, one is faster.
func (s *Service) takeUpLetter(c *setup, path string) {
	log := s.log.logger()
	own := s.letters.path(waitingDir(c), s.journal.id(), s.now())
	if err := os.Rename(path, own); err != nil {
		return
	}
	var l letter
	data, err := os.ReadFile(own)
	if err == nil {
		err = json.Unmarshal(data, &l)
	}
	if err != nil {
		log.Warn("a notification that waited cannot be read", "error", err)
		s.burn(own)
		return
	}
	if old := s.now().Sub(l.Queued); old > waitingFor {
		log.Error("notification given up: it has waited for too long", "notifier", l.Notifier, "event", l.Notification.Event, "job", l.Notification.Job, "queued", l.Queued)
		s.burn(own)
		return
	}
	l.Notification.Queued = l.Queued
	log.Info("a notification that was not taken before the restart is on its way again", "notifier", l.Notifier, "event", l.Notification.Event)
	s.carry(l.Notifier, l.Notification, own, nil)
}
