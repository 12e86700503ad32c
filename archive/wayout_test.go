package archive_test

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"testing"

	"github.com/caddy-backup/caddy-backup/archive"
)

// full is a place with so much room left.
type full struct{ left int }

var errNoRoom = errors.New("no room")

func (f *full) Write(p []byte) (int, error) {
	if len(p) > f.left {
		return 0, errNoRoom
	}
	f.left -= len(p)
	return len(p), nil
}

// When the way out fails, at the beginning, in the middle or at the very end, that is told, and no goroutine is left behind.
func TestWayOutFails(t *testing.T) {
	data := make([]byte, 2500<<10)
	_, _ = rand.NewChaCha8([32]byte{1}).Read(data)
	for _, format := range archive.OfFiles {
		data := data
		if format == archive.Bzip2 {
			data = data[:200_000] // it is slow
		}
		var whole bytes.Buffer
		must(t, archive.WriteFile(&whole, format, bytes.NewReader(data)))
		for _, room := range []int{0, 5, 100_000, whole.Len() / 2, whole.Len() - 1} {
			if err := archive.WriteFile(&full{room}, format, bytes.NewReader(data)); !errors.Is(err, errNoRoom) {
				t.Errorf("%s, %d bytes of %d: %v", format, room, whole.Len(), err)
			}
		}
		must(t, archive.WriteFile(&full{whole.Len()}, format, bytes.NewReader(data)))
	}
}
