package backup

import (
	"testing"
	"time"
)

// TestExamineClock: a run of the future shows that the clock was set back.
func TestExamineClock(t *testing.T) {
	for ahead, want := range map[time.Duration]Level{-time.Hour: LevelOK, time.Minute: LevelOK, time.Hour: LevelError} {
		s := New()
		s.history.known["x"] = &record{Run: Run{ID: "x", State: StateOK, Created: time.Now().Add(ahead)}}
		if d := s.examineClock(); d.Level != want {
			t.Errorf("%s ahead: %+v", ahead, d)
		}
	}
}
