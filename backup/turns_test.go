package backup

import (
	"context"
	"errors"
	"testing"
)

func TestTurns(t *testing.T) {
	turns := make(turns, 2)
	for range 3 { // each leaves what it entered
		first, err1 := turns.enter(t.Context())
		second, err2 := turns.enter(t.Context())
		if err := errors.Join(err1, err2); err != nil {
			t.Fatal(err)
		}
		gone, cancel := context.WithCancel(t.Context())
		cancel()
		if _, err := turns.enter(gone); !errors.Is(err, context.Canceled) {
			t.Errorf("a third one: %v", err)
		}
		first()
		third, err := turns.enter(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		second()
		third()
	}
}
