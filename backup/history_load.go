package backup

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"
)

// load reads the records of a host that are not known yet: all of them at the first start, and later what other
// processes did meanwhile. It returns those that died with their process, and are interrupted from now on. An error says that
// runs are missing: what could be read is known all the same, and it can be called again.
func (h *history) load(ctx context.Context, store Store, host, home string, j *journal) (died []Run, err error) {
	h.mu.Lock()
	h.journal, h.home = j, home
	h.mu.Unlock()
	keys, err := store.List(ctx, path.Join(historyRoot, safeName(host)), false)
	if err == nil || isMissing(err) {
		died, _, err = h.loadNew(ctx, store, keys)
		h.trim()
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	switch {
	case err == nil:
		h.whole, h.missing = host, nil
	case h.whole != host: // else only what others did meanwhile
		h.missing = err
	}
	return died, err
}

// unread is why runs of ours are not known; nil when they are.
func (h *history) unread() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.missing
}

// loadNew reads the records that are not known yet. It returns those that died with their process, oldest first, and
// whether there were any. One that makes no sense, or belongs to another user, is passed over; that one could not be read is
// the error.
func (h *history) loadNew(ctx context.Context, store Store, keys []string) (died []Run, news bool, failed error) {
	own := h.journal.id()
	slices.Sort(keys)
	for _, key := range slices.Backward(keys) { // newest first, should the time be up
		id, isRecord := strings.CutSuffix(path.Base(key), ".json")
		if !isRecord || h.has(id) {
			continue
		}
		rec, err := loadRecord(ctx, store, key)
		if err != nil {
			h.log.logger().Warn("cannot read a run of the history", "key", key, "error", err)
			if _, unreadable := errors.AsType[*unreadable](err); unreadable {
				failed = fmt.Errorf("%s: %w", key, err)
			}
			if ctx.Err() != nil {
				return died, news, failed
			}
			continue
		}
		if !h.own(rec, own) {
			news = true
			if h.keep(store, rec) {
				died = append(died, rec.Run)
			}
		}
	}
	slices.Reverse(died)
	return died, news, failed
}

// unreadable is an error of the store, which may be over the next time.
type unreadable struct{ error }

func (e *unreadable) Unwrap() error { return e.error }

func loadRecord(ctx context.Context, store Store, key string) (*record, error) {
	data, err := store.Load(ctx, key)
	switch {
	case isMissing(err), errors.Is(err, fs.ErrPermission): // removed meanwhile; or written by another user, with --standalone, for good
		return nil, err
	case err != nil:
		return nil, &unreadable{err}
	}
	rec := &record{key: key}
	if err := json.Unmarshal(data, rec); err != nil {
		return nil, err
	}
	if rec.ID != strings.TrimSuffix(path.Base(key), ".json") {
		return nil, errors.New("it is of another run")
	}
	return rec, nil
}

// keep puts a loaded record into memory, without its log. One that has not ended, and whose process is gone, is
// interrupted from now on, in the store too: the one that it came from, which at the first start is not in use yet. It
// reports whether that is news: the store takes it once, so that another start does not tell it again.
func (h *history) keep(store Store, rec *record) (died bool) {
	h.mu.Lock()
	alive := rec.State.Done() || h.foreign(rec) || h.journal.alive(rec.Owner)
	h.mu.Unlock()
	if !alive {
		died = h.interrupt(store, rec, "the process that ran it is gone: it crashed or was killed, or the machine went down")
	}
	h.put(rec)
	return died
}

// interrupt writes down that a run died with its process.
func (h *history) interrupt(store Store, rec *record, reason string) bool {
	if rec.Home != "" {
		rec.Left = h.inherit(store, rec)
	}
	rec.State, rec.Step, rec.Owner, rec.Home = StateInterrupted, "", "", ""
	rec.Error, rec.Ended = reason+rec.aftermath(), h.now().UTC()
	return h.write(store, rec) == nil
}
