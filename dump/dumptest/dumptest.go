// Package dumptest tries what backup.Source promises on any source: a dump is whole or an error, a writer's failure
// comes back, nothing is left behind, and a restore touches nothing that exists.
package dumptest

import (
	"bytes"
	"context"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/caddy-backup/caddy-backup/backup"
)

// Kit describes a source to Run.
type Kit struct {
	Source  backup.Source // provisioned, over something that is not empty
	Name    string        // the source's name in its job
	Secrets []string      // must appear in no log, error or fact

	// NewPlace names a place for a restore at which there is nothing; nil for a source that cannot restore: then
	// Restore must answer ErrInvalid.
	NewPlace func(t testing.TB) string
	// Exists tells whether there is anything at a place.
	Exists func(t testing.TB, place string) bool
	// Equal fails the test unless what is at the place equals what was dumped.
	Equal func(t testing.TB, place string)
}

var errInjected = errors.New("injected failure")

// Run tries the whole contract. It sets TMPDIR, so it cannot be called from a parallel test.
func Run(t *testing.T, k Kit) {
	part := k.parts(t)
	var dump []byte
	k.step(t, "dump", func(t *testing.T, task *backup.Task) {
		var b bytes.Buffer
		facts, err := k.Source.Dump(t.Context(), part, &b, task)
		if err != nil {
			t.Fatal(err)
		}
		if b.Len() == 0 {
			t.Fatal("no error, and nothing was written")
		}
		if facts.Source == "" || facts.Checked == "" {
			t.Errorf("facts do not say what was dumped and how it was checked: %+v", facts)
		}
		k.noSecrets(t, facts.Source+facts.Checked+facts.Engine+facts.Tool+strings.Join(facts.Notes, " "))
		dump = b.Bytes()
	})
	if dump == nil {
		return
	}
	k.dumpFaults(t, part, len(dump))
	if k.NewPlace == nil {
		k.step(t, "restore is refused", func(t *testing.T, task *backup.Task) {
			err := k.Source.Restore(t.Context(), part, bytes.NewReader(dump), "anywhere", task)
			k.wantError(t, err, backup.ErrInvalid)
		})
		return
	}
	k.restores(t, part, dump)
}

// parts checks what the source says that it will dump, and returns the first of it.
func (k Kit) parts(t *testing.T) backup.Part {
	t.Helper()
	parts, err := k.Source.Parts(t.Context(), k.Name)
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	for _, p := range parts {
		if p.Name == "" || p.Name == "." || p.Name == ".." || strings.ContainsAny(p.Name, "/\x00") || seen[p.Name] {
			t.Errorf("bad or repeated name of a part: %q", p.Name)
		}
		seen[p.Name] = true
	}
	if len(parts) == 0 {
		t.Fatal("no parts")
	}
	return parts[0]
}

func (k Kit) dumpFaults(t *testing.T, part backup.Part, size int) {
	k.step(t, "cancelled before", func(t *testing.T, task *backup.Task) {
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		_, err := k.Source.Dump(ctx, part, io.Discard, task)
		k.wantError(t, err, context.Canceled)
	})
	k.step(t, "cancelled at the first byte", func(t *testing.T, task *backup.Task) {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		_, err := k.Source.Dump(ctx, part, writerFunc(func(p []byte) (int, error) { cancel(); return len(p), nil }), task)
		k.wantError(t, err, context.Canceled)
	})
	for _, after := range []int{0, 1, size / 2, size - 1} {
		k.step(t, "writer fails", func(t *testing.T, task *backup.Task) {
			_, err := k.Source.Dump(t.Context(), part, &failingWriter{left: after}, task)
			k.wantError(t, err, errInjected)
		})
	}
	k.step(t, "two at once", func(t *testing.T, task *backup.Task) {
		done := make(chan error)
		for range 2 {
			go func() {
				_, err := k.Source.Dump(t.Context(), part, io.Discard, task)
				done <- err
			}()
		}
		if err := errors.Join(<-done, <-done); err != nil {
			t.Error(err)
		}
	})
}

func (k Kit) restores(t *testing.T, part backup.Part, dump []byte) {
	place := k.NewPlace(t)
	bad := func(name string, r io.Reader, want error) {
		k.step(t, name, func(t *testing.T, task *backup.Task) {
			k.wantError(t, k.Source.Restore(t.Context(), part, r, place, task), want)
			if k.Exists(t, place) {
				t.Errorf("something was left at %s", place)
			}
		})
	}
	half := bytes.NewReader(dump[:len(dump)/2])
	bad("restore of a dump that cannot be read", io.MultiReader(half, iotest.ErrReader(errInjected)), errInjected)
	bad("restore of a cut dump", bytes.NewReader(dump[:len(dump)/2]), nil)
	bad("restore of a dump without its last byte", bytes.NewReader(dump[:len(dump)-1]), nil)
	bad("restore of nothing", bytes.NewReader(nil), nil)
	bad("restore of something else", strings.NewReader("This is not a dump."), nil)
	k.step(t, "cancelled restore", func(t *testing.T, task *backup.Task) {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		r := readerFunc(func(p []byte) (int, error) { cancel(); return 0, context.Cause(ctx) })
		k.wantError(t, k.Source.Restore(ctx, part, io.MultiReader(bytes.NewReader(dump[:len(dump)/2]), r), place, task), context.Canceled)
		if k.Exists(t, place) {
			t.Errorf("something was left at %s", place)
		}
	})
	k.step(t, "restore", func(t *testing.T, task *backup.Task) {
		if err := k.Source.Restore(t.Context(), part, bytes.NewReader(dump), place, task); err != nil {
			t.Fatal(err)
		}
		k.Equal(t, place)
	})
	k.step(t, "restore over something", func(t *testing.T, task *backup.Task) {
		err := k.Source.Restore(t.Context(), part, bytes.NewReader(dump), place, task)
		k.wantError(t, err, backup.ErrConflict)
		if !strings.Contains(err.Error(), place) {
			t.Errorf("the error does not name the place %s: %v", place, err)
		}
		k.Equal(t, place)
	})
	k.step(t, "restore to nowhere", func(t *testing.T, task *backup.Task) {
		k.wantError(t, k.Source.Restore(t.Context(), part, bytes.NewReader(dump), "", task), backup.ErrInvalid)
	})
}

// step runs one trial and then looks for what it left behind.
func (k Kit) step(t *testing.T, name string, trial func(*testing.T, *backup.Task)) {
	t.Run(name, func(t *testing.T) {
		NothingLeft(t)
		task := Task(t)
		trial(t, task)
		k.noSecrets(t, Log(task))
	})
}

func (k Kit) wantError(t *testing.T, err, want error) {
	t.Helper()
	if err == nil {
		t.Fatal("no error")
	}
	if want != nil && !errors.Is(err, want) {
		t.Errorf("error = %v, want %v", err, want)
	}
	k.noSecrets(t, err.Error()+backup.OutputOf(err))
}

func (k Kit) noSecrets(t *testing.T, text string) {
	t.Helper()
	for _, s := range k.Secrets {
		if strings.Contains(text, s) {
			t.Errorf("a secret is told: %s", text)
		}
	}
}

type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(p []byte) (int, error) { return f(p) }

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }

// failingWriter takes so many bytes and then fails for ever.
type failingWriter struct{ left int }

func (w *failingWriter) Write(p []byte) (int, error) {
	n := min(len(p), w.left)
	w.left -= n
	if n < len(p) {
		return n, errInjected
	}
	return n, nil
}
