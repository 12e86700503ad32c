package repo

import (
	"bytes"
	"context"
	"sync/atomic"
	"time"

	"golang.org/x/sync/semaphore"
)

// readMemory bounds the bytes that all readers of a repository hold decoded, read-ahead included. Readers that have
// nothing may wait for their turn; read-ahead takes only what is free.
//
// A consumer that stalls, as a client does whose user has closed the lid, must not keep others waiting. Every reader looks
// at itself while it holds memory: when nothing was read of it for its patience, it gives back all but a small piece, and
// decodes again if the consumer comes back.
type readMemory struct {
	limit   int64
	free    *semaphore.Weighted
	waiting atomic.Int32
}

const (
	lookEvery = 50 * time.Millisecond // how often a reader looks whether it is stalled
	patience  = 2 * time.Second       // after which it believes so, while there is memory for all
	kept      = 64 << 10              // bytes that a stalled reader keeps, so that not each read of a slow consumer costs a decoding
)

func newReadMemory(limit int64) *readMemory {
	return &readMemory{limit: limit, free: semaphore.NewWeighted(limit)}
}

// take waits for n bytes, which must not be more than the limit.
func (m *readMemory) take(ctx context.Context, n int64) error {
	if m.try(n) {
		return nil
	}
	m.waiting.Add(1)
	defer m.waiting.Add(-1)
	if err := m.free.Acquire(ctx, n); err != nil {
		return context.Cause(ctx)
	}
	return nil
}

// try takes n bytes when they are free and nobody waits.
func (m *readMemory) try(n int64) bool { return m.free.TryAcquire(n) }

func (m *readMemory) give(n int64) { m.free.Release(n) }

// patience is how long a reader may hold memory without being read: while others wait, hardly any time.
func (m *readMemory) patience() time.Duration {
	if m.waiting.Load() > 0 {
		return lookEvery
	}
	return patience
}

// lookLater has the file look at itself while it holds memory.
func (f *File) lookLater() {
	if f.timer == nil {
		f.timer = time.AfterFunc(lookEvery, f.look)
	} else {
		f.timer.Reset(lookEvery)
	}
}

func (f *File) lookNoMore() {
	if f.timer != nil {
		f.timer.Stop()
	}
}

// look gives memory back when the consumer seems to have stalled.
func (f *File) look() {
	f.mu.Lock()
	defer f.mu.Unlock()
	switch {
	case f.ctx.Err() != nil:
	case time.Since(f.used) < f.repo.memory.patience():
		f.lookLater()
	default:
		f.shrink()
	}
}

// shrink keeps a small piece of what comes next, and gives back the rest.
func (f *File) shrink() {
	f.stopAhead()
	if f.lent || f.run.held == 0 {
		return
	}
	var piece []byte
	if f.pos >= f.begun && f.pos < f.begun+int64(len(f.run.data)) {
		rest := f.run.data[f.pos-f.begun:]
		piece = bytes.Clone(rest[:min(len(rest), kept)])
		if len(piece) < len(rest) {
			f.next = f.blobAt(f.pos + int64(len(piece)))
		}
	}
	f.drop(f.run)
	f.run, f.begun = batch{data: piece, cached: true}, f.pos // not of the pool, like what is cached
}
