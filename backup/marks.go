package backup

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"time"
)

// mark says since when a plan has its schedule: slots before that were never missed. Marks are kept in the Store, one file for
// each host, and change only when the configuration does.
type mark struct {
	Item  string    `json:"item"`
	Times string    `json:"times"` // schedule and zone
	Since time.Time `json:"since"`
	Left  time.Time `json:"left,omitzero"` // when the configuration had it no longer
}

// comeback is for how long a mark is kept that the configuration has no longer: one that cannot be started is taken back,
// and then nothing may be lost of the one before.
const comeback = 10 * time.Minute

// noted brings marks up to date with the plans of the configuration. begin says since when a plan counts that is new.
func noted(marks []mark, plans []plan, now time.Time, begin func(plan) time.Time) []mark {
	next := make([]mark, 0, len(plans))
	of := func(m mark) func(plan) bool {
		return func(p plan) bool { return p.item() == m.Item && p.times() == m.Times }
	}
	for _, m := range marks {
		planned := slices.ContainsFunc(plans, of(m))
		gone := !m.Left.IsZero() && now.Sub(m.Left) > comeback
		switch {
		case gone: // if it is planned it begins anew
		case planned:
			m.Left = time.Time{}
			if m.Since.After(now) { // the clock was wrong
				m.Since = now
			}
			next = append(next, m)
		default:
			if m.Left.IsZero() || m.Left.After(now) {
				m.Left = now
			}
			next = append(next, m)
		}
	}
	for _, p := range plans {
		if !slices.ContainsFunc(next, func(m mark) bool { return of(m)(p) }) {
			next = append(next, mark{Item: p.item(), Times: p.times(), Since: begin(p)})
		}
	}
	return next
}

// sinceOf is since when a plan has its schedule; unknown, when marks do not say.
func sinceOf(marks []mark, p plan, unknown time.Time) time.Time {
	for _, m := range marks {
		if m.Item == p.item() && m.Times == p.times() {
			return m.Since
		}
	}
	return unknown
}

func marksKey(host string) string { return path.Join("backup/schedules", safeName(host)+".json") }

func loadMarks(ctx context.Context, store Store, key string) (marks []mark, err error) {
	ctx, cancel := context.WithTimeout(ctx, storeTimeout)
	defer cancel()
	data, err := store.Load(ctx, key)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err == nil {
		err = json.Unmarshal(data, &marks)
	}
	if err != nil {
		return nil, fmt.Errorf("reading %s: %w", key, err)
	}
	return marks, nil
}

func saveMarks(ctx context.Context, store Store, key string, marks []mark) error {
	ctx, cancel := context.WithTimeout(ctx, storeTimeout)
	defer cancel()
	data, err := json.Marshal(marks)
	if err != nil {
		return err
	}
	return store.Store(ctx, key, data)
}
