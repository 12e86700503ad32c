package backup

import (
	"sync/atomic"
	"time"

	"github.com/caddy-backup/caddy-backup/repo"
)

// Cheap makes new keys cost nothing, in repositories that are not open yet.
func (s *Service) Cheap() *Service {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.options = func(o repo.Options) repo.Options {
		o.KDF = repo.KDF{N: 16, R: 1, P: 1}
		return o
	}
	for _, v := range s.vaults {
		v.base = s.options(v.base)
	}
	return s
}

// SetGrace sets how long a source may take to end after it was told to.
func (s *Service) SetGrace(d time.Duration) { s.grace = d }

// MemoryKey is where the Store remembers the repository at a location.
func MemoryKey(location string) string { return memoryKey(location) }

// SetClock makes the Service's clock wrong by d, between runs: it waits until the last one is told.
func (s *Service) SetClock(d time.Duration) {
	s.telling.Wait()
	s.now = func() time.Time { return time.Now().Add(d) }
}

// SetLockWait sets how long a run waits for a lock that others hold.
func (s *Service) SetLockWait(d time.Duration) { s.lockWait = d }

// Unstaggered has the members of a cluster begin with each slot in the same moment.
func (s *Service) Unstaggered() { s.maxStagger = 0 }

// SkewClock makes the Service's clock wrong by so many nanoseconds, which may change at any time; it comes before Attach.
func (s *Service) SkewClock(by *atomic.Int64) {
	s.now = func() time.Time { return time.Now().Add(time.Duration(by.Load())) }
}
