package backup

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path"
	"slices"
	"strings"
	"testing"
	"time"
)

// mapStore is a Store for one goroutine.
type mapStore map[string]string

func (m mapStore) Store(_ context.Context, key string, value []byte) error {
	m[key] = string(value)
	return nil
}

func (m mapStore) Load(_ context.Context, key string) ([]byte, error) {
	if value, ok := m[key]; ok {
		return []byte(value), nil
	}
	return nil, fs.ErrNotExist
}

func (m mapStore) Delete(_ context.Context, key string) error {
	delete(m, key)
	return nil
}

func (m mapStore) List(_ context.Context, prefix string, _ bool) ([]string, error) {
	var keys []string
	for key := range m {
		if path.Dir(key) == prefix {
			keys = append(keys, key)
		}
	}
	return keys, nil
}

func newTestHistory(t *testing.T, store Store, j *journal) *history {
	t.Helper()
	h := newHistory(&liveLog{}, time.Now)
	h.use(store, "web1", "")
	if _, err := h.load(t.Context(), store, "web1", "", j); err != nil {
		t.Log(err)
	}
	return h
}

var day = time.Date(2024, 5, 6, 0, 0, 0, 0, time.UTC)

func endedRun(n int, job string, state State) Run {
	at := day.Add(time.Duration(n) * time.Hour)
	return Run{
		ID: fmt.Sprintf("%s-%04x", at.Format("20060102t150405z"), 0), Kind: KindBackup, Job: job, State: state, Created: at, Ended: at,
		Log: []LogLine{{Time: at, Level: "INFO", Text: "line of " + job}},
	}
}

func TestHistory(t *testing.T) {
	store := mapStore{}
	j := newJournal(t.TempDir(), quiet)
	h := newTestHistory(t, store, j)
	h.add(endedRun(0, "shop", StateOK))
	for n := range 2 * historyKept {
		h.add(endedRun(n+1, "shop", StateFailed))
	}
	for n := range 5 {
		h.add(endedRun(n, "blog", StateOK).withID(n))
	}
	check := func(h *history) {
		t.Helper()
		runs := h.list()
		if len(runs) != historyKept+1+5 || len(store) != len(runs) {
			t.Errorf("%d runs, %d records", len(runs), len(store))
		}
		if runs[0].ID != endedRun(2*historyKept, "", "").ID || runs[0].Log != nil {
			t.Errorf("the newest is %+v", runs[0])
		}
		good := slices.IndexFunc(runs, func(r Run) bool { return r.Job == "shop" && r.State == StateOK })
		if good < 0 || runs[good].ID != endedRun(0, "", "").ID {
			t.Errorf("the newest good one was forgotten")
		}
		run, ok := h.get(t.Context(), runs[7].ID)
		if !ok || len(run.Log) != 1 || run.Log[0].Text != "line of shop" {
			t.Errorf("%+v", run)
		}
		if _, ok := h.get(t.Context(), "nonsense"); ok {
			t.Error("found nonsense")
		}
	}
	check(h)
	check(newTestHistory(t, store, j)) // after a restart

	// Records of others' hosts and broken ones are passed over.
	store[historyRoot+"/web1/20990101t000000z-0000.json"] = "{ torn"
	store[historyRoot+"/web1/20990101t000000z-0001.json"] = `{"id":"another"}`
	store[historyRoot+"/web2/20990101t000000z-0002.json"] = `{"id":"20990101t000000z-0002"}`
	if got := len(newTestHistory(t, store, j).list()); got != historyKept+6 {
		t.Error(got)
	}
}

// withID keeps the runs of a second job apart from those of the first.
func (r Run) withID(n int) Run {
	r.ID = strings.TrimSuffix(r.ID, "0000") + fmt.Sprintf("%04x", n+1)
	return r
}

// TestHistoryInterrupted starts again after a crash.
func TestHistoryInterrupted(t *testing.T) {
	store := mapStore{}
	dir := t.TempDir()
	j := newJournal(dir, quiet)
	h := newTestHistory(t, store, j)
	running := Run{ID: "20240506t000000z-0000", Kind: KindBackup, Job: "shop", State: StateRunning, Step: "dumping db", Created: day}
	h.save(running, j.id())
	if len(h.list()) != 0 {
		t.Error("what goes on here is not history")
	}

	// Another process sees it as going on, until it ends.
	other := newTestHistory(t, store, newJournal(dir, quiet))
	if runs := other.list(); len(runs) != 1 || runs[0].State != StateRunning {
		t.Errorf("%+v", runs)
	}
	ended := running
	ended.State, ended.Step, ended.Ended = StateOK, "", day.Add(time.Hour)
	h.add(ended)
	if runs := other.list(); runs[0].State != StateOK {
		t.Errorf("%+v", runs)
	}

	// One whose process is gone was interrupted, and stays so.
	running.ID = "20240506t000000z-0001"
	h.save(running, "7-dead")
	running.ID = "20240506t000000z-0002"
	h.save(running, "")
	for range 2 {
		h := newTestHistory(t, store, newJournal(dir, quiet))
		for _, run := range h.list()[:2] {
			if run.State != StateInterrupted || run.Step != "" || run.Ended.IsZero() || run.Error == "" {
				t.Errorf("%+v", run)
			}
		}
	}
	j.close()
}

// TestHistoryKeepsVerdict: a check that found damaged data is not forgotten for a hundred that looked less deep.
func TestHistoryKeepsVerdict(t *testing.T) {
	h := newTestHistory(t, mapStore{}, newJournal("", quiet))
	bad := endedRun(0, "", StateFailed)
	bad.Kind, bad.Repository, bad.ReadData, bad.Findings = KindCheck, "default", true, []Finding{{Error: true}}
	h.add(bad)
	for n := range historyKept + 10 {
		run := endedRun(n+1, "", StateOK)
		run.Kind, run.Repository = KindCheck, "default"
		h.add(run)
	}
	if _, ok := h.get(t.Context(), bad.ID); !ok || len(h.list()) != historyKept+1 {
		t.Errorf("kept %v, %d runs", ok, len(h.list()))
	}
}

// brokenStore cannot write.
type brokenStore struct{ mapStore }

func (brokenStore) Store(context.Context, string, []byte) error { return errors.New("disk full") }

// TestHistoryUnsaved keeps in memory what the Store does not take.
func TestHistoryUnsaved(t *testing.T) {
	h := newTestHistory(t, brokenStore{mapStore{}}, newJournal("", quiet))
	h.add(endedRun(0, "shop", StateOK))
	run, ok := h.get(t.Context(), endedRun(0, "", "").ID)
	if !ok || run.State != StateOK || len(run.Log) != 1 {
		t.Errorf("%+v", run)
	}
}

func TestHistoryKeys(t *testing.T) {
	store := mapStore{}
	h := newHistory(&liveLog{}, time.Now)
	h.use(store, "../we ird/hôst", "")
	h.add(endedRun(0, "shop", StateOK))
	for key := range maps.Keys(store) {
		if key != historyRoot+"/.._we_ird_h_st/"+endedRun(0, "", "").ID+".json" {
			t.Error(key)
		}
	}
}
