package backup

import "testing"

// TestMissing tells records that others removed from a storage that is not the one that it was.
func TestMissing(t *testing.T) {
	ended, alsoEnded := &record{Run: Run{ID: "a", State: StateOK}}, &record{Run: Run{ID: "b", State: StateFailed}}
	open, unsaved := &record{Run: Run{ID: "c", State: StateRunning}}, &record{Run: Run{ID: "d", State: StateOK}, unsaved: true}
	for _, c := range []struct {
		name  string
		known []*record
		keys  []string
		gone  int
		fails bool
	}{
		{"nothing known", nil, []string{"backup/runs/h/a.json"}, 0, false},
		{"all there", []*record{ended, open}, []string{"backup/runs/h/a.json", "backup/runs/h/c.json"}, 0, false},
		{"one trimmed", []*record{ended, alsoEnded}, []string{"backup/runs/h/a.json"}, 1, false},
		{"a claim taken back", []*record{ended, open}, []string{"backup/runs/h/a.json"}, 1, false},
		{"the only claim taken back", []*record{open}, nil, 1, false},
		{"never written", []*record{unsaved}, nil, 0, false},
		{"not mounted", []*record{ended, alsoEnded, open}, nil, 0, true},
	} {
		gone, err := missing(c.known, c.keys)
		if len(gone) != c.gone || (err != nil) != c.fails {
			t.Errorf("%s: %d are gone, %v", c.name, len(gone), err)
		}
	}
}
