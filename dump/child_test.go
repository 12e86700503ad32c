package dump

import (
	"errors"
	"io"
	"os"
	"strings"
	"testing"
	"time"
)

// TestChildPipeLate reads pipes whose deadline has passed before anybody looked, as on a machine that was suspended: what lies in them
// is not lost, and an end is one.
func TestChildPipeLate(t *testing.T) {
	exited := make(chan struct{})
	close(exited)
	for _, c := range []struct {
		text  string
		ended bool // everybody has closed the pipe who could write to it
	}{{"a row", true}, {"a row", false}, {"", true}, {"", false}} {
		r, w, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := w.WriteString(c.text); err != nil {
			t.Fatal(err)
		}
		if c.ended {
			w.Close()
		}
		out := &childOutput{pipe: childPipe{f: r}, exited: exited, grace: -time.Second}
		got, err := io.ReadAll(out)
		if string(got) != c.text || out.n != int64(len(c.text)) || errors.Is(err, errOutputHeld) == c.ended || c.ended && err != nil {
			t.Errorf("%+v: %q, %v", c, got, err)
		}
		w.Close()
		r.Close()
	}
}

// TestChildPipeEndless: who goes on writing for ever does not keep a reader behind the deadline.
func TestChildPipeEndless(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for err := error(nil); err == nil; {
			_, err = w.WriteString(strings.Repeat("more\n", 10_000))
		}
	}()
	r.SetReadDeadline(time.Unix(1, 0))
	if _, err := io.Copy(io.Discard, &childPipe{f: r}); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Error(err)
	}
	r.Close()
	<-done
	w.Close()
}
