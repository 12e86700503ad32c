package storagetest

import (
	"context"
	"slices"
	"testing"

	"github.com/caddy-backup/caddy-backup/repo"
)

// Names lists the files below dir, sorted; "" is the whole storage.
func Names(t testing.TB, st repo.Storage, dir string) []string {
	t.Helper()
	var names []string
	for fi, err := range st.List(context.Background(), dir) {
		if err != nil {
			t.Fatal(err)
		}
		names = append(names, fi.Name)
	}
	slices.Sort(names)
	return names
}

// Read returns a whole file.
func Read(t testing.TB, st repo.Storage, name string) []byte {
	t.Helper()
	data, err := st.Get(context.Background(), name, 0, -1)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// Write makes data the content of a file.
func Write(t testing.TB, st repo.Storage, name string, data []byte) {
	t.Helper()
	if err := st.Put(context.Background(), name, data); err != nil {
		t.Fatal(err)
	}
}

// Remove deletes a file.
func Remove(t testing.TB, st repo.Storage, name string) {
	t.Helper()
	if err := st.Delete(context.Background(), name); err != nil {
		t.Fatal(err)
	}
}

// Flip changes one bit of a file; bits are counted from the lowest one of the first byte, negative ones from the end
// (-1 is the highest bit of the last byte).
func Flip(t testing.TB, st repo.Storage, name string, bit int64) {
	t.Helper()
	data := Read(t, st, name)
	if bit < 0 {
		bit += int64(len(data)) * 8
	}
	if bit < 0 || bit/8 >= int64(len(data)) {
		t.Fatalf("%s has %d bytes, no bit %d", name, len(data), bit)
	}
	data[bit/8] ^= 1 << (bit % 8)
	Write(t, st, name, data)
}

// Truncate cuts a file to size bytes; a negative size cuts that many off its end.
func Truncate(t testing.TB, st repo.Storage, name string, size int64) {
	t.Helper()
	data := Read(t, st, name)
	if size < 0 {
		size += int64(len(data))
	}
	if size < 0 || size > int64(len(data)) {
		t.Fatalf("%s has %d bytes, cannot cut it to %d", name, len(data), size)
	}
	Write(t, st, name, data[:size])
}

// Copy puts every file of one storage into another, so that a test can damage a copy of what was costly to make.
func Copy(t testing.TB, to, from repo.Storage) {
	t.Helper()
	for _, name := range Names(t, from, "") {
		Write(t, to, name, Read(t, from, name))
	}
}
