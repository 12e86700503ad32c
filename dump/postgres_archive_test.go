package dump

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"maps"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/caddy-backup/caddy-backup/dump/dumptest"
	"github.com/caddy-backup/caddy-backup/internal/realtest"
)

// testEntry is an entry of the contents of an archive, and the block that belongs to it.
type testEntry struct {
	id            int
	kind, tag     string
	copying       string
	block         string // without its beginning
	hasBlock, not bool   // not: it has one, which is not written
}

func tableEntry(id int, tag string, rows ...string) testEntry {
	var text strings.Builder
	for _, row := range append(rows, `\.`+"\n\n\n") {
		text.WriteString(archivePiece(row))
	}
	return testEntry{id: id, kind: "TABLE DATA", tag: tag, copying: "COPY public." + tag + " (a) FROM stdin;\n", block: text.String() + archiveInt(0), hasBlock: true}
}

func archiveInt(n int) string {
	return string(binary.LittleEndian.AppendUint32([]byte{0}, uint32(n)))
}

func archivePiece(text string) string { return archiveInt(len(text)) + text }

// buildArchive writes an archive as pg_dump 15 does.
func buildArchive(entries ...testEntry) []byte {
	b := []byte(archiveMagic + "\x01\x0e\x00\x04\x08\x01" + archiveInt(0) + strings.Repeat(archiveInt(1), 7))
	add := func(texts ...string) { b = append(b, strings.Join(texts, "")...) }
	add(archivePiece("shop"), archivePiece("15.18"), archivePiece("15.18"), archiveInt(len(entries)))
	for _, e := range entries {
		where := "\x03"
		if e.hasBlock {
			where = "\x01"
			add(archiveInt(e.id), archiveInt(1))
		} else {
			add(archiveInt(e.id), archiveInt(0))
		}
		add(archivePiece("0"), archivePiece("0"), archivePiece(e.tag), archivePiece(e.kind), archiveInt(3), archivePiece("SELECT 1;"), archivePiece(""))
		add(archivePiece(e.copying), archivePiece("public"), archivePiece(""), archivePiece(""), archivePiece("me"), archivePiece("false"))
		add(archivePiece("7"), "\x01"+archiveInt(1)[1:], where, strings.Repeat("\x00", 8)) // it depends on one; then comes none
	}
	for _, e := range entries {
		if e.hasBlock && !e.not {
			kind := "\x01"
			if e.kind == "BLOBS" {
				kind = "\x03"
			}
			add(kind, archiveInt(e.id), e.block)
		}
	}
	return b
}

// readArchive reads an archive as a dump's check does.
func readArchive(r io.Reader) (map[string]int64, error) {
	a := newArchiveReader(r)
	if known, err := a.known(); err != nil || !known {
		return nil, errors.Join(err, errors.New("not known"))
	}
	if err := a.contents(io.Discard); err != nil {
		return nil, err
	}
	return a.rows, a.data()
}

func testArchive() []byte {
	return buildArchive(testEntry{id: 1, kind: "TABLE", tag: "orders"},
		tableEntry(2, "orders", "1\n", "2\t\\\\.\n", "3\n"), tableEntry(5, "empty"), tableEntry(3, "blank", "\n", "\n"),
		testEntry{id: 9, kind: "BLOBS", tag: "BLOBS", hasBlock: true,
			block: archiveInt(16432) + archivePiece("an object") + archivePiece("\\.") + archiveInt(0) + archiveInt(7) + archiveInt(0) +
				"\x01" + archiveInt(1294967296)[1:] + archivePiece("of number 3000000000") + archiveInt(0) + archiveInt(0)})
}

// An archive is read whole, in pieces of any size, and one that is cut off anywhere, or goes on behind its end, is not whole.
func TestArchiveReader(t *testing.T) {
	archive := testArchive()
	want := map[string]int64{"public.orders": 3, "public.empty": 0, "public.blank": 2}
	for name, r := range map[string]io.Reader{"at once": bytes.NewReader(archive), "halves": iotest.HalfReader(bytes.NewReader(archive)),
		"byte by byte": iotest.OneByteReader(bytes.NewReader(archive)), "with its end": iotest.DataErrReader(bytes.NewReader(archive))} {
		if rows, err := readArchive(r); err != nil || !maps.Equal(rows, want) {
			t.Errorf("%s: %v, %v", name, rows, err)
		}
	}
	for n := range archive {
		if _, err := readArchive(bytes.NewReader(archive[:n])); err == nil || n > 0 && !strings.Contains(err.Error(), "it is cut off in ") {
			t.Fatalf("%d of %d bytes: %v", n, len(archive), err)
		}
	}
	if _, err := readArchive(bytes.NewReader(append(archive, 0))); err == nil || !strings.Contains(err.Error(), "more behind its end") {
		t.Errorf("a byte too much: %v", err)
	}
	wide := buildArchive(tableEntry(11, "wide", strings.Repeat("x", archiveBuffer-5)+"\n", strings.Repeat("y", 3*archiveBuffer)+"\n"))
	if rows, err := readArchive(bytes.NewReader(wide)); err != nil || rows["public.wide"] != 2 {
		t.Errorf("rows that are longer than the buffer: %v, %v", rows, err)
	}
	broken := errors.New("broken")
	if _, err := readArchive(io.MultiReader(bytes.NewReader(archive), iotest.ErrReader(broken))); !errors.Is(err, broken) {
		t.Errorf("an error instead of the end: %v", err)
	}
}

// What pg_restore would not find, or would find elsewhere, is an error.
func TestArchiveReaderRefuses(t *testing.T) {
	orders, empty := tableEntry(2, "orders", "1\n"), tableEntry(5, "empty")
	change := func(e testEntry, f func(*testEntry)) testEntry { f(&e); return e }
	swapped := bytes.Replace(buildArchive(orders, empty), []byte("\x01"+archiveInt(2)+orders.block+"\x01"+archiveInt(5)+empty.block),
		[]byte("\x01"+archiveInt(5)+empty.block+"\x01"+archiveInt(2)+orders.block), 1)
	rows := func(text string) []byte {
		return buildArchive(change(orders, func(e *testEntry) { e.block = archivePiece(text) + archiveInt(0) }))
	}
	for name, archive := range map[string][]byte{
		"no block for an entry":        buildArchive(change(orders, func(e *testEntry) { e.not = true }), empty),
		"no block for the last entry":  buildArchive(orders, change(empty, func(e *testEntry) { e.not = true })),
		"a block for no entry":         buildArchive(change(orders, func(e *testEntry) { e.block += "\x01" + archiveInt(77) + empty.block }), empty),
		"a block twice":                buildArchive(change(orders, func(e *testEntry) { e.block += "\x01" + archiveInt(2) + e.block }), empty),
		"blocks in another order":      swapped,
		"objects where rows should be": buildArchive(change(orders, func(e *testEntry) { e.kind = "BLOBS" })),
		"no number 0":                  buildArchive(change(orders, func(e *testEntry) { e.id = 0 })),
		"a negative length":            buildArchive(change(orders, func(e *testEntry) { e.block = "\x01" + e.block[1:] })),
		"rows without an end":          rows("1\n2\n"),
		"rows with half an end":        rows("1\n\\"),
		"rows that end in a row":       rows("1\\.\n"),
		"rows without a last line":     rows("1\n\\."),
		"no rows, and no end":          rows("\n"),
		"rows behind the end":          rows("1\n\\.\n2\n"),
		"compressed":                   bytes.Replace(testArchive(), []byte("\x04\x08\x01"+archiveInt(0)), []byte("\x04\x08\x01"+archiveInt(6)), 1),
		"of an older format":           bytes.Replace(testArchive(), []byte("\x01\x0e\x00\x04"), []byte("\x01\x0d\x00\x04"), 1),
		"of a newer format":            bytes.Replace(testArchive(), []byte("\x01\x0e\x00\x04"), []byte("\x01\x0f\x00\x04"), 1),
		"in a folder":                  bytes.Replace(testArchive(), []byte("\x04\x08\x01"), []byte("\x04\x08\x05"), 1),
	} {
		if rows, err := readArchive(bytes.NewReader(archive)); err == nil {
			t.Errorf("%s: %v", name, rows)
		}
	}
}

// The reader finds the rows that pg_restore prints, and is as strict: whatever is cut or changed so that pg_restore would
// refuse it, is refused.
func testPostgresArchive(t *testing.T, pg *realtest.Postgres) {
	archive, _ := pgDump(t, pgSource(t, pg.DSN("the shop")), firstPart(t, pgSource(t, pg.DSN("the shop"))))
	tools := pgTools{restore: pg.Program("pg_restore"), version: pgVersion{major: 15}}
	watch := newScriptWatch(scriptMarks[0].end)
	if _, err := tools.check().run(t.Context(), dumptest.Task(t), bytes.NewReader(archive), watch); err != nil || watch.whole() != nil {
		t.Fatal(err, watch.whole())
	}
	if known, err := newArchiveReader(bytes.NewReader(archive)).known(); err != nil || !known {
		t.Logf("this pg_dump writes another format: its archives go through pg_restore as a whole")
		return
	}
	if rows, err := readArchive(bytes.NewReader(archive)); err != nil || !maps.Equal(rows, watch.rows) {
		t.Errorf("%v, %v; pg_restore prints %v", rows, err, watch.rows)
	}
	for n := range archive {
		if n%2003 == 0 || n > len(archive)-64 {
			if _, err := readArchive(bytes.NewReader(archive[:n])); err == nil {
				t.Fatalf("%d of %d bytes are taken for a whole archive", n, len(archive))
			}
		}
	}
}

// Whatever comes, the reader comes to an end; and of what is whole, neither a byte less nor one more is.
func FuzzArchiveReader(f *testing.F) {
	small := buildArchive(tableEntry(2, "orders", "1\n", "2\n"), testEntry{id: 9, kind: "BLOBS", tag: "BLOBS", hasBlock: true,
		block: archiveInt(16432) + archivePiece("an object") + archiveInt(0) + archiveInt(0)})
	f.Add(small)
	f.Add(small[:len(small)/2])
	f.Add(buildArchive())
	f.Fuzz(func(t *testing.T, archive []byte) {
		rows, err := readArchive(bytes.NewReader(archive))
		again, errAgain := readArchive(iotest.OneByteReader(bytes.NewReader(archive)))
		if (err == nil) != (errAgain == nil) || err == nil && !maps.Equal(rows, again) {
			t.Fatalf("%v, %v; byte by byte %v, %v", rows, err, again, errAgain)
		}
		if err != nil {
			return
		}
		if _, err := readArchive(bytes.NewReader(archive[:len(archive)-1])); err == nil {
			t.Error("without its last byte it is whole too")
		}
		if _, err := readArchive(bytes.NewReader(append(archive, 0))); err == nil {
			t.Error("with a byte too much it is whole too")
		}
	})
}

func BenchmarkArchiveReader(b *testing.B) {
	var rows []string
	for range 1 << 17 {
		rows = append(rows, "12345\t678\t2024-01-02 03:04:05.000000+00\tshipped\t123.45\tORD-20240000007\t\\N\n")
	}
	archive := buildArchive(tableEntry(2, "orders", rows...))
	b.SetBytes(int64(len(archive)))
	for b.Loop() {
		if got, err := readArchive(bytes.NewReader(archive)); err != nil || got["public.orders"] != int64(len(rows)) {
			b.Fatal(got, err)
		}
	}
}
