package dump

import (
	"bytes"
	"encoding/binary"
	"errors"
	"os"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/caddy-backup/caddy-backup/backup"
)

// accessListFor lets one user more read and write, and nobody of the group, as setfacl -m u:<uid>:rw does.
func accessListFor(uid uint32) []byte {
	const owner, user, group, mask, other, nobody = 1, 2, 4, 16, 32, 1<<32 - 1
	b := binary.LittleEndian.AppendUint32(nil, 2) // the form's version
	for _, e := range []struct {
		tag, may uint16
		who      uint32
	}{{owner, 6, nobody}, {user, 6, uid}, {group, 0, nobody}, {mask, 6, nobody}, {other, 0, nobody}} {
		b = binary.LittleEndian.AppendUint16(b, e.tag)
		b = binary.LittleEndian.AppendUint16(b, e.may)
		b = binary.LittleEndian.AppendUint32(b, e.who)
	}
	return b
}

// TestSQLiteOverwriteAttributes keeps who may use the database: not the whole group what one user may.
func TestSQLiteOverwriteAttributes(t *testing.T) {
	x := newOverwriting(t, "PRAGMA journal_mode=WAL")
	const list = "system.posix_acl_access"
	want := map[string][]byte{list: accessListFor(12345), "user.note": []byte("of the shop")}
	for name, value := range want {
		if err := unix.Setxattr(x.path, name, value, 0); errors.Is(err, unix.ENOTSUP) { // by the file system of temporary files
			delete(want, name)
		} else if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
	}
	before, err := os.Stat(x.path)
	if err != nil {
		t.Fatal(err)
	}
	if err := x.over(t.Context(), t, bytes.NewReader(x.dump), backup.Over{}); err != nil {
		t.Fatal(err)
	}
	for name, value := range want {
		got := make([]byte, 1000)
		if n, err := unix.Getxattr(x.path, name, got); err != nil || !bytes.Equal(got[:n], value) {
			t.Errorf("%s: %x, %v, want %x", name, got[:max(n, 0)], err, value)
		}
	}
	if after, err := os.Stat(x.path); err != nil || after.Mode() != before.Mode() || want[list] != nil && after.Mode().Perm() != 0o660 {
		t.Errorf("mode %v, want %v", after.Mode(), before.Mode())
	}
	x.requireLive(t, x.was)
}
