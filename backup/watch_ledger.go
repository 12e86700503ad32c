package backup

import (
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"log/slog"
	"path"
	"reflect"
	"slices"
	"time"
)

// DefaultRemind is how long after people were told of a trouble they are told again, while it lasts.
const DefaultRemind = oneDay

// told is what people were told of a trouble.
type told struct {
	Event   Event     `json:"event"`
	Kind    Kind      `json:"kind,omitempty"` // of runs, when it is about such
	Name    string    `json:"name"`           // of the job, or of the repository
	State   string    `json:"state"`          // see trouble
	Since   time.Time `json:"since"`          // when the trouble began
	Last    time.Time `json:"last"`           // when it was told last
	Times   int       `json:"times"`
	Level   int       `json:"level,omitempty"` // the worst that was told
	Reasons []string  `json:"reasons"`
	Taken   bool      `json:"taken,omitempty"` // a notifier took it, or there was nobody to tell: a restart need not repeat it
	Gone    time.Time `json:"gone,omitzero"`   // when the trouble was not there any more
}

func (e told) of(t trouble) bool { return e.Event == t.event && e.Kind == t.kind && e.Name == t.name }

// weigh decides what is to be told of troubles now, and what is kept of what was told before. recovered says of a trouble
// that is not there any more whether that is good news: else a configuration may have been changed, and be changed back.
func weigh(before []told, troubles []trouble, remind time.Duration, recovered func(told) bool, now time.Time) (after []told, tell []notice, wake time.Time) {
	for _, t := range troubles {
		e := told{Event: t.event, Kind: t.kind, Name: t.name, Since: t.since}
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
// forgets it. The members of a cluster have one file together.
type ledger struct {
	turn   turns // one at a time works on the rest
	key    string
	list   []told
	stored bool
}

func ledgerKey(host string) string { return path.Join("backup/told", safeName(host)+".json") }

// weighTold is weigh on what is kept.
func (s *Service) weighTold(c *setup, troubles []trouble, recovered func(told) bool, now time.Time) (tell []notice, wake time.Time) {
	s.changeTold(c, func(before []told) (after []told) {
		after, tell, wake = weigh(before, troubles, c.remind(), recovered, now)
		return after
	})
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
func (s *Service) settle(c *setup, job string) (since time.Time) {
	if !c.Automatic {
		return since
	}
	s.changeTold(c, func(before []told) []told {
		since = time.Time{}
		return slices.DeleteFunc(slices.Clone(before), func(e told) bool {
			overdue := e.Event == EventOverdue && e.Name == job
			if overdue {
				since = e.Since
			}
			return overdue
		})
	})
	return since
}

// taken notes that what was told last of a trouble reached somebody.
func (s *Service) taken(c *setup, e told) {
	s.changeTold(c, func(before []told) []told {
		after := slices.Clone(before)
		for i := range after {
			if a := after[i]; a.Event == e.Event && a.Kind == e.Kind && a.Name == e.Name {
				after[i].Taken = true
			}
		}
		return after
	})
}

// changeTold has f change what was told. It is asked again where another member of a cluster may have changed it meanwhile.
func (s *Service) changeTold(c *setup, f func([]told) []told) {
	l, ctx, log := &s.ledger, s.delivery, s.log.logger()
	leave, err := l.turn.enter(ctx)
	if err != nil {
		return // the process ends
	}
	defer leave()
	if key := ledgerKey(c.Host); l.key != key {
		l.key, l.list = key, nil
		l.load(ctx, log, c, s.now())
	} else if c.Cluster {
		l.load(ctx, log, c, s.now())
	}
	after := f(l.list)
	if l.stored && same(after, l.list) {
		return
	}
	if !c.Cluster {
		l.set(ctx, log, c, after)
		return
	}
	err = s.exclusively(ctx, c, "told-"+c.Host, func() error {
		l.load(ctx, log, c, s.now())
		l.set(ctx, log, c, f(l.list))
		return nil
	})
	if err != nil {
		log.Warn("cannot keep what people were told of what is wrong", "error", err)
	}
}

func same(a, b []told) bool { return len(a) == 0 && len(b) == 0 || reflect.DeepEqual(a, b) }

// onItsWay is how long a notification may take to be taken, with all its attempts.
const onItsWay = 2 * time.Hour

// load reads what was told. What nobody took before the process ended counts as not told; in a cluster another member may
// still be at it. The caller has the turn.
func (l *ledger) load(ctx context.Context, log *slog.Logger, c *setup, now time.Time) {
	ctx, cancel := context.WithTimeout(ctx, storeTimeout)
	defer cancel()
	var list []told
	data, err := c.Store.Load(ctx, l.key)
	if err == nil {
		err = json.Unmarshal(data, &list)
	} else if errors.Is(err, fs.ErrNotExist) {
		err = nil
	}
	if l.stored = err == nil; err != nil {
		log.Warn("cannot read what people were told of what is wrong; they may be told again", "key", l.key, "error", err)
		return
	}
	for i, e := range list {
		if !e.Taken && (!c.Cluster || now.Sub(e.Last) > onItsWay) {
			list[i].Last, list[i].Times = time.Time{}, max(e.Times-1, 0)
		}
	}
	l.list = list
}

// set keeps what was told. The caller has the turn.
func (l *ledger) set(ctx context.Context, log *slog.Logger, c *setup, list []told) {
	l.list = list
	ctx, cancel := context.WithTimeout(ctx, storeTimeout)
	defer cancel()
	data, err := json.Marshal(list)
	if err == nil {
		err = c.Store.Store(ctx, l.key, data)
	}
	if l.stored = err == nil; err != nil {
		log.Warn("cannot keep what people were told of what is wrong", "key", l.key, "error", err)
	}
}
