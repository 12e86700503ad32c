package backup

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"path"
	"reflect"
	"slices"
	"sync"
	"time"
)

// DefaultRemind is how long after people were told of a trouble they are told again, while it lasts.
const DefaultRemind = oneDay

// told is what people were told of a trouble.
type told struct {
	Event   Event     `json:"event"` // overdue or damage
	Name    string    `json:"name"`  // of the job, or of the repository
	State   string    `json:"state"` // see trouble
	Since   time.Time `json:"since"` // when the trouble began
	Last    time.Time `json:"last"`  // when it was told last
	Times   int       `json:"times"`
	Level   int       `json:"level,omitempty"` // the worst that was told
	Reasons []string  `json:"reasons"`
	Taken   bool      `json:"taken,omitempty"` // a notifier took it, or there was nobody to tell: a restart need not repeat it
	Gone    time.Time `json:"gone,omitzero"`   // when the trouble was not there any more
}

func (e told) of(t trouble) bool { return e.Event == t.event && e.Name == t.name }

// weigh decides what is to be told of troubles now, and what is kept of what was told before. recovered says of a trouble
// that is not there any more whether that is good news: else a configuration may have been changed, and be changed back.
func weigh(before []told, troubles []trouble, remind time.Duration, recovered func(told) bool, now time.Time) (after []told, tell []notice, wake time.Time) {
	for _, t := range troubles {
		e := told{Event: t.event, Name: t.name, Since: t.since}
		if i := slices.IndexFunc(before, func(e told) bool { return e.of(t) }); i >= 0 {
			e = before[i]
		}
		if e.Last.After(now) { // the clock was wrong
			e.Last = now
		}
		e.Gone = time.Time{}
		if !t.held && e.due(t, remind, now) {
			e = e.again(t, now)
			tell = append(tell, notice{e.Event, e})
		}
		if e.Last.IsZero() {
			continue
		}
		after = append(after, e)
		if next := e.Last.Add(remind); next.After(now) {
			wake = sooner(wake, next)
		}
	}
	for _, e := range before {
		if slices.ContainsFunc(troubles, e.of) {
			continue
		}
		if e.Gone.IsZero() || e.Gone.After(now) {
			e.Gone = now
		}
		if recovered(e) {
			tell = append(tell, notice{EventRecovered, e})
		} else if now.Sub(e.Gone) <= comeback {
			after = append(after, e)
			wake = sooner(wake, now.Add(look))
		}
	}
	return after, tell, wake
}

// due reports whether a trouble is to be told now: for the first time, because it became worse, or because it lasts.
func (e told) due(t trouble, remind time.Duration, now time.Time) bool {
	return e.Last.IsZero() || t.level > e.Level || remind > 0 && !e.Last.Add(remind).After(now)
}

// again is e after it was told.
func (e told) again(t trouble, now time.Time) told {
	if e.Since.IsZero() {
		e.Since = now
	}
	e.Last, e.Level, e.State, e.Reasons, e.Taken = now, max(e.Level, t.level), t.state, t.reasons, false
	e.Times++
	return e
}

// notice is what is to be told: that a trouble is there, or that it is over.
type notice struct {
	event Event
	told  told
}

// ledger keeps what was told, in the Store too, one file for each host, so that neither a reload nor a restart repeats it, or
// forgets it.
type ledger struct {
	mu     sync.Mutex
	key    string
	store  Store
	list   []told
	stored bool
}

func ledgerKey(host string) string { return path.Join("backup/told", safeName(host)+".json") }

// update is weigh on what is kept.
func (l *ledger) update(log *slog.Logger, c *setup, troubles []trouble, recovered func(told) bool, now time.Time) (tell []notice, wake time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.store = c.Store
	if key := ledgerKey(c.Host); l.key != key {
		l.key = key
		l.load(log)
	}
	after, tell, wake := weigh(l.list, troubles, c.remind(), recovered, now)
	l.set(log, after)
	return tell, wake
}

func (c *setup) remind() time.Duration {
	if c.Remind == 0 {
		return DefaultRemind
	}
	return c.Remind
}

// settle ends that a job is overdue, since a good backup was made, and says since when it was; the zero time if nobody was
// told so.
func (l *ledger) settle(log *slog.Logger, job string) (since time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	after := slices.DeleteFunc(slices.Clone(l.list), func(e told) bool {
		found := e.Event == EventOverdue && e.Name == job
		if found {
			since = e.Since
		}
		return found
	})
	if !since.IsZero() {
		l.set(log, after)
	}
	return since
}

// taken notes that what was told last of a trouble reached somebody.
func (l *ledger) taken(log *slog.Logger, event Event, name string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	after := slices.Clone(l.list)
	for i := range after {
		if after[i].Event == event && after[i].Name == name {
			after[i].Taken = true
		}
	}
	l.set(log, after)
}

// load reads what was told. What nobody took before the process ended counts as not told. The caller holds l.mu.
func (l *ledger) load(log *slog.Logger) {
	ctx, cancel := context.WithTimeout(context.Background(), storeTimeout)
	defer cancel()
	l.list, l.stored = nil, false
	data, err := l.store.Load(ctx, l.key)
	if errors.Is(err, fs.ErrNotExist) {
		l.stored = true // nothing told, nothing stored
		return
	}
	if err == nil {
		err = json.Unmarshal(data, &l.list)
	}
	if err != nil {
		l.list = nil
		log.Warn("cannot tell what people were told of what is wrong; they are told again", "error", fmt.Errorf("reading %s: %w", l.key, err))
		return
	}
	l.stored = true
	for i, e := range l.list {
		if !e.Taken {
			l.list[i].Last, l.list[i].Times = time.Time{}, max(e.Times-1, 0)
		}
	}
}

// set keeps what was told, and stores it if it changed. The caller holds l.mu.
func (l *ledger) set(log *slog.Logger, list []told) {
	same := len(list) == len(l.list) && (len(list) == 0 || reflect.DeepEqual(list, l.list))
	if l.list = list; same && l.stored || l.key == "" {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), storeTimeout)
	defer cancel()
	data, err := json.Marshal(list)
	if err == nil {
		err = l.store.Store(ctx, l.key, data)
	}
	if l.stored = err == nil; err != nil {
		log.Warn("cannot keep what people were told of what is wrong", "error", err)
	}
}
