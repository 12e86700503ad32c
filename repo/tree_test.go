package repo

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"reflect"
	"strings"
	"testing"
	"time"
	"unicode/utf8"
)

func TestEmptyTree(t *testing.T) {
	data, err := encodeTree(nil)
	if err != nil || string(data) != "{\"nodes\":[]}\n" {
		t.Fatalf("%q, %v", data, err)
	}
	if id := Hash(data).String(); id != "ac08ce34ba4f8123618661bef2425f7028ffb9ac740578a3ee88684d2523fee8" {
		t.Errorf("ID = %s", id)
	}
	if nodes, err := decodeTree(data); err != nil || len(nodes) != 0 {
		t.Errorf("%v, %v", nodes, err)
	}
}

// TestStdinTree is restic's own tree for a file from standard input.
func TestStdinTree(t *testing.T) {
	at := time.Date(2024, 3, 4, 5, 6, 7, 0, time.UTC)
	id := Hash([]byte("content"))
	checkGolden(t, Node{Name: "dump.sql", Type: "file", Mode: 0o644, ModTime: at, AccessTime: at, ChangeTime: at, Size: 12, Content: []ID{id}},
		`{"name":"dump.sql","type":"file","mode":420,"mtime":"2024-03-04T05:06:07Z","atime":"2024-03-04T05:06:07Z",`+
			`"ctime":"2024-03-04T05:06:07Z","uid":0,"gid":0,"size":12,"content":["`+id.String()+`"]}`)
}

// checkGolden expects a node in these bytes, and to be read from them again.
func checkGolden(t *testing.T, n Node, want string) {
	t.Helper()
	data, err := encodeTree([]Node{n})
	if err != nil || string(data) != `{"nodes":[`+want+"]}\n" {
		t.Errorf("%q is\n%s%v\nwant\n%s", n.Name, data, err, want)
		return
	}
	nodes, err := decodeTree(data)
	if err != nil || len(nodes) != 1 {
		t.Fatal(err)
	}
	again, err := encodeTree(nodes)
	if err != nil || !bytes.Equal(data, again) {
		t.Errorf("%q is encoded again as\n%s%v\nwant\n%s", n.Name, again, err, data)
	}
	if nodes[0].Name != n.Name || nodes[0].LinkTarget != n.LinkTarget {
		t.Errorf("%q -> %q is read as %q -> %q", n.Name, n.LinkTarget, nodes[0].Name, nodes[0].LinkTarget)
	}
}

const zeroTimes = `"mtime":"0001-01-01T00:00:00Z","atime":"0001-01-01T00:00:00Z","ctime":"0001-01-01T00:00:00Z","uid":0,"gid":0`

func TestGoldenNodes(t *testing.T) {
	id, id2 := Hash([]byte("1")), Hash([]byte("2"))
	berlin := time.FixedZone("", 3600)
	for _, c := range []struct {
		node Node
		want string
	}{
		{ // every field
			Node{
				Name: "all", Type: "file", Mode: fs.ModeSetuid | 0o755, UID: 1, GID: 2, User: "u<&>", Group: "g", Inode: 3, DeviceID: 4, Size: 5,
				Links: 6, LinkTarget: "to", Device: 7, Content: []ID{id, id2}, Subtree: &id, Error: "e",
				ModTime:            time.Date(2023, 11, 14, 23, 13, 20, 123456789, berlin),
				AccessTime:         time.Date(1969, 12, 31, 1, 0, 0, 5, berlin),
				ChangeTime:         time.Date(2099, 5, 4, 0, 0, 0, 120_000_000, time.UTC),
				ExtendedAttributes: []XAttr{{"user.x", []byte{0, 255, 1}}, {"user.empty", []byte{}}},
				GenericAttributes:  genericAttrs{"windows.b": json.RawMessage(`"<x>"`), "windows.a": json.RawMessage(`[1,18446744073709551615]`)},
			},
			`{"name":"all","type":"file","mode":8389101,"mtime":"2023-11-14T23:13:20.123456789+01:00","atime":"1969-12-31T01:00:00.000000005+01:00",` +
				`"ctime":"2099-05-04T00:00:00.12Z","uid":1,"gid":2,"user":"u\u003c\u0026\u003e","group":"g","inode":3,"device_id":4,"size":5,"links":6,` +
				`"linktarget":"to","extended_attributes":[{"name":"user.x","value":"AP8B"},{"name":"user.empty","value":""}],` +
				`"generic_attributes":{"windows.a":[1,18446744073709551615],"windows.b":"\u003cx\u003e"},"device":7,` +
				`"content":["` + id.String() + `","` + id2.String() + `"],"subtree":"` + id.String() + `","error":"e"}`,
		},
		{Node{Name: "empty", Type: "file"}, `{"name":"empty","type":"file",` + zeroTimes + `,"content":[]}`},
		{Node{Name: "d", Type: "dir", Mode: fs.ModeDir | 0o755, Subtree: &id, Content: []ID{}},
			`{"name":"d","type":"dir","mode":2147484141,` + zeroTimes + `,"content":null,"subtree":"` + id.String() + `"}`},
		{Node{Name: "l", Type: "symlink", Mode: fs.ModeSymlink | 0o777, LinkTarget: "ziel-ü<&>\"\\\u2028"},
			`{"name":"l","type":"symlink","mode":134218239,` + zeroTimes + `,"linktarget":"ziel-ü\u003c\u0026\u003e\"\\\u2028","content":null}`},
		{Node{Name: "l", Type: "symlink", Mode: fs.ModeSymlink | 0o777, LinkTarget: "inv\xff\xfe"},
			`{"name":"l","type":"symlink","mode":134218239,` + zeroTimes + `,"linktarget":"inv\ufffd\ufffd","linktarget_raw":"aW52//4=","content":null}`},
		{Node{Name: "l", Type: "symlink", LinkTarget: "valid-\ufffd"},
			`{"name":"l","type":"symlink",` + zeroTimes + `,"linktarget":"valid-` + "\ufffd" + `","content":null}`},
		// Modes: the examples of the format's description, and bits that it does not know.
		{Node{Name: "sgid", Type: "file", Mode: fs.ModeSetgid | 0o755}, `{"name":"sgid","type":"file","mode":4194797,` + zeroTimes + `,"content":[]}`},
		{Node{Name: "sticky", Type: "file", Mode: fs.ModeSticky | 0o644}, `{"name":"sticky","type":"file","mode":1048996,` + zeroTimes + `,"content":[]}`},
		{Node{Name: "tmp", Type: "dir", Mode: fs.ModeDir | fs.ModeSticky | 0o777, Subtree: &id},
			`{"name":"tmp","type":"dir","mode":2148532735,` + zeroTimes + `,"content":null,"subtree":"` + id.String() + `"}`},
		{Node{Name: "fifo", Type: "fifo", Mode: fs.ModeNamedPipe | 0o644}, `{"name":"fifo","type":"fifo","mode":33554852,` + zeroTimes + `,"content":null}`},
		{Node{Name: "b", Type: "dev", Mode: fs.ModeDevice | 0o600, Device: 1792}, `{"name":"b","type":"dev","mode":67109248,` + zeroTimes + `,"device":1792,"content":null}`},
		{Node{Name: "c", Type: "chardev", Mode: fs.ModeDevice | fs.ModeCharDevice | 0o600, Device: 259},
			`{"name":"c","type":"chardev","mode":69206400,` + zeroTimes + `,"device":259,"content":null}`},
		{Node{Name: "x", Type: "file", Mode: fs.ModeAppend | fs.ModeExclusive | fs.ModeTemporary | 0o600 | 1<<10},
			`{"name":"x","type":"file","mode":384,` + zeroTimes + `,"content":[]}`},
		// Times that RFC 3339 cannot tell.
		{Node{Name: "x", Type: "fifo", ModTime: time.Date(12345, 6, 7, 8, 9, 10, 0, time.UTC), AccessTime: time.Date(-5, 6, 7, 8, 9, 10, 0, time.UTC),
			ChangeTime: time.Date(2024, 1, 2, 3, 4, 5, 0, time.FixedZone("", 3600+1800+15))},
			`{"name":"x","type":"fifo","mtime":"9999-06-07T08:09:10Z","atime":"0000-06-07T08:09:10Z","ctime":"2024-01-02T01:33:50Z","uid":0,"gid":0,"content":null}`},
	} {
		checkGolden(t, c.node, c.want)
	}
}

// TestGoldenNames are the escapes as they stand in restic's JSON.
func TestGoldenNames(t *testing.T) {
	for name, want := range map[string]string{
		"plain.txt": `plain.txt`, "%41 percent": `%41 percent`, " leading": ` leading`, "trailing.": `trailing.`, "it's": `it's`,
		`quote"back\slash`: `quote\\\"back\\\\slash`, "new\nline\ttab": `new\\nline\\ttab`, "\a\b\f\r\v": `\\a\\b\\f\\r\\v`,
		"ctl\x01\x1f\x7f": `ctl\\x01\\x1f\\x7f`, "inv\xff\xfealid": `inv\\xff\\xfealid`, "cut\xc3": `cut\\xc3`,
		"nbsp\u00a0zw\u200b": `nbsp\\u00a0zw\\u200b`, "ls\u2028bom\ufeff": `ls\\u2028bom\\ufeff`, "mahjong\U0001f000": "mahjong\U0001f000",
		"private\U000f0000": `private\\U000f0000`, "amp&lt<": `amp\u0026lt\u003c`, "repl\ufffd": "repl\ufffd", "ünïcødé-日本語-😀": "ünïcødé-日本語-😀",
		"nfd-e\u0301": "nfd-e\u0301",
	} {
		checkGolden(t, Node{Name: name, Type: "fifo"}, `{"name":"`+want+`","type":"fifo",`+zeroTimes+`,"content":null}`)
	}
}

// TestNameEscapes reads every escape of a Go string literal, not only those that we write.
func TestNameEscapes(t *testing.T) {
	for in, want := range map[string]string{
		`\\101`: "A", `\\xFF`: "\xff", `\\u00E9`: "é", `\\U0001F600`: "😀", `a'b`: "a'b", `\u0041`: "A",
	} {
		nodes, err := decodeTree([]byte(`{"nodes":[{"name":"` + in + `","type":"fifo"}]}`))
		if err != nil || nodes[0].Name != want {
			t.Errorf("%s: %+v, %v; want %q", in, nodes, err, want)
		}
	}
	for _, in := range []string{`\\`, `\\x`, `\\q`, `\\'`, `\"`, `a\nb`, `\\u12`, `\\400`} {
		if nodes, err := decodeTree([]byte(`{"nodes":[{"name":"` + in + `","type":"fifo"}]}`)); !errors.Is(err, ErrDamaged) {
			t.Errorf("%s: %+v, %v", in, nodes, err)
		}
	}
}

func TestTreeOrder(t *testing.T) {
	var nodes []Node
	for _, name := range []string{"b", "a\xff", "B", "a", "é", "a/"[:1] + "\x00"[:0] + "b", "Ab", "a.b"} {
		nodes = append(nodes, Node{Name: name, Type: "fifo"})
	}
	before := fmt.Sprint(nodes)
	data, err := encodeTree(nodes)
	if err != nil {
		t.Fatal(err)
	}
	if fmt.Sprint(nodes) != before {
		t.Error("encodeTree changed its argument")
	}
	sorted, err := decodeTree(data)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, n := range sorted {
		names = append(names, n.Name)
	}
	if want := []string{"Ab", "B", "a", "a.b", "ab", "a\xff", "b", "é"}; !reflect.DeepEqual(names, want) {
		t.Errorf("order %q, want %q", names, want)
	}
}

func TestEncodeTreeRefuses(t *testing.T) {
	if testing.Short() {
		t.Skip("one thing after the other: no races to be found")
	}
	for name, nodes := range map[string][]Node{
		"empty name": {{Type: "file"}}, "dot": {{Name: ".", Type: "file"}}, "dots": {{Name: "..", Type: "file"}},
		"slash": {{Name: "a/b", Type: "file"}}, "NUL": {{Name: "a\x00b", Type: "file"}},
		"twice":          {{Name: "a", Type: "file"}, {Name: "b", Type: "file"}, {Name: "a", Type: "dir", Subtree: &ID{1}}},
		"no subtree":     {{Name: "a", Type: "dir"}},
		"zero subtree":   {{Name: "a", Type: "dir", Subtree: new(ID)}},
		"zero content":   {{Name: "a", Type: "file", Content: []ID{{1}, {}}}},
		"no type":        {{Name: "a"}},
		"generic broken": {{Name: "a", Type: "file", GenericAttributes: genericAttrs{"x": json.RawMessage("{")}}},
	} {
		if data, err := encodeTree(nodes); err == nil {
			t.Errorf("%s: %s", name, data)
		}
	}
	var huge []Node // in pieces that share their memory, of which others need some at the same time
	for i, piece := 0, strings.Repeat("x", 4<<20); i < maxTree/len(piece); i++ {
		huge = append(huge, Node{Name: fmt.Sprint("a", i), Type: "fifo", Error: piece})
	}
	if _, err := encodeTree(huge); err == nil {
		t.Error("a tree that is too large to be read was written")
	}
}

// TestDecodeTolerates reads trees in which everything optional is missing, and all that JSON leaves free.
func TestDecodeTolerates(t *testing.T) {
	id := Hash([]byte("x"))
	for text, want := range map[string][]Node{
		`{"nodes":null}`: nil, `{}`: nil, `{"nodes":[]}`: {},
		" {\r\n \"other\" : {\"a\":[1,2]} , \"nodes\" :\t[ { \"type\" : \"fifo\" , \"name\":\"n\", \"new\":\"x\" } ] } \n\n": {{Name: "n", Type: "fifo"}},
		`{"nodes":[{"name":"f","type":"file","content":[]}]}`:                                                                {{Name: "f", Type: "file", Content: []ID{}}},
		`{"nodes":[{"name":"d","type":"dir","subtree":"` + id.String() + `"}]}`:                                              {{Name: "d", Type: "dir", Subtree: &id}},
		`{"nodes":[{"name":"b","type":"fifo"},{"name":"a","type":"fifo"}]}`:                                                  {{Name: "b", Type: "fifo"}, {Name: "a", Type: "fifo"}},
		`{"nodes":[{"name":"n","type":"fifo","mode":18446744}]}`:                                                             {{Name: "n", Type: "fifo", Mode: 18446744 & modeBits}},
		`{"nodes":[{"name":"n","type":"symlink","linktarget":"x","linktarget_raw":"//4="}]}`:                                 {{Name: "n", Type: "symlink", LinkTarget: "\xff\xfe"}},
		`{"nodes":[{"name":"n","type":"fifo","content":null,"subtree":null,"user":null}]}`:                                   {{Name: "n", Type: "fifo"}},
		`{"nodes":[{"name":"n","type":"future-kind","content":null}]}`:                                                       {{Name: "n", Type: "future-kind"}},
		`{"nodes":[{"name":"n","type":"fifo","mtime":"2024-01-02T03:04:05.000000006+00:00"}]}`:                               {{Name: "n", Type: "fifo", ModTime: time.Date(2024, 1, 2, 3, 4, 5, 6, time.UTC)}},
	} {
		nodes, err := decodeTree([]byte(text))
		for i := range nodes {
			nodes[i].ModTime = nodes[i].ModTime.UTC()
		}
		if err != nil || !reflect.DeepEqual(nodes, want) {
			t.Errorf("%s: %+v, %v", text, nodes, err)
		}
	}
}

func TestDecodeTreeRefuses(t *testing.T) {
	id := Hash([]byte("x")).String()
	node := func(fields string) string { return `{"nodes":[{` + fields + `}]}` }
	for _, text := range []string{
		``, `x`, `[]`, `{"nodes":{}}`, `{"nodes":[]} x`, `{"nodes":[]}{"nodes":[]}`, `{"nodes":[`, `{"nodes":[null]}`, `{"nodes":[{}]}`,
		node(`"type":"fifo"`), node(`"name":"","type":"fifo"`), node(`"name":".","type":"fifo"`), node(`"name":"..","type":"fifo"`),
		node(`"name":"a/b","type":"fifo"`), node(`"name":"a\\x00","type":"fifo"`), node(`"name":"a\\x2fb","type":"fifo"`), node(`"name":"\\056\\056","type":"fifo"`),
		node(`"name":"a"`), node(`"name":"a","type":""`),
		node(`"name":"a","type":"file"`), node(`"name":"a","type":"file","content":null`), node(`"name":"a","type":"file","content":[null]`),
		node(`"name":"a","type":"file","content":["xyz"]`), node(`"name":"a","type":"file","content":["` + strings.ToUpper(id) + `"]`),
		node(`"name":"a","type":"dir"`), node(`"name":"a","type":"dir","subtree":null`), node(`"name":"a","type":"dir","subtree":"ab"`),
		node(`"name":"a","type":"fifo","mode":-1`), node(`"name":"a","type":"fifo","mode":4294967296`), node(`"name":"a","type":"fifo","size":1.5`),
		node(`"name":"a","type":"fifo","mtime":"yesterday"`), node(`"name":"a","type":"fifo","mtime":"2024-01-02 03:04:05Z"`),
		node(`"name":"a","type":"fifo","uid":4294967296`), node(`"name":"a","type":"symlink","linktarget_raw":"?"`),
	} {
		if nodes, err := decodeTree([]byte(text)); !errors.Is(err, ErrDamaged) {
			t.Errorf("%s: %+v, %v", text, nodes, err)
		}
	}
}

// TestEncodingIsCanonical compares with encoding/json, whose output is what the format's IDs are made of.
func TestEncodingIsCanonical(t *testing.T) {
	var nodes []Node
	for i, s := range []string{"a", "é", "\x01\b\f\n\r\t\x7f", "<&>\"\\", "\u2028\u2029", "\U0001f600", "\xff\xc3", "\ufffd"} {
		at := time.Date(2024, 1, 2, 3, 4, i, i*100_000, time.UTC)
		nodes = append(nodes, Node{
			Name: fmt.Sprint(i), Type: "symlink", User: s, Group: s, LinkTarget: s, Error: s, ModTime: at, AccessTime: at, ChangeTime: at,
			ExtendedAttributes: []XAttr{{s, []byte(s)}, {"nil", nil}},
		})
	}
	got, err := encodeTree(nodes)
	if err != nil {
		t.Fatal(err)
	}
	for i := range nodes {
		if !utf8.ValidString(nodes[i].LinkTarget) {
			nodes[i].LinkTargetRaw = []byte(nodes[i].LinkTarget)
		}
		nodes[i].ExtendedAttributes[1].Value = []byte{} // never null
	}
	want, err := json.Marshal(map[string]any{"nodes": nodes})
	if err != nil || string(got) != string(want)+"\n" {
		t.Errorf("encoded as\n%s\nwant\n%s", got, want)
	}
}

func FuzzTree(f *testing.F) {
	for _, name := range []string{"v1-0.14", "v2-latest"} {
		_, st, r := openFixture(f, name)
		if err := r.LoadIndex(f.Context()); err != nil {
			f.Fatal(err)
		}
		for pack, blobs := range r.index.packs() {
			for _, b := range blobs {
				if b.Type != TreeBlob {
					continue
				}
				sealed, err := st.Get(f.Context(), packName(pack), int64(b.Offset), int64(b.Length))
				if err != nil {
					f.Fatal(err)
				}
				plain, err := r.key.open(nil, sealed)
				if err == nil && b.Uncompressed != 0 {
					plain, err = newDecompressor().decompress(nil, plain, int(b.Uncompressed))
				}
				if err != nil {
					f.Fatal(err)
				}
				f.Add(plain)
			}
		}
	}
	f.Add([]byte(`{"nodes":[{"name":"n","type":"symlink","linktarget":"x","linktarget_raw":"//4=","generic_attributes":{"a":{"b":1}}}]}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		nodes, err := decodeTree(text)
		if err != nil {
			if !errors.Is(err, ErrDamaged) {
				t.Fatal(err)
			}
			return
		}
		for _, n := range nodes {
			if err := checkName(n.Name); err != nil {
				t.Fatal(err)
			}
		}
		data, err := encodeTree(nodes)
		if err != nil { // two of one name are read, and not written; nor is a time that we cannot write
			return
		}
		again, err := decodeTree(data)
		if err != nil {
			t.Fatalf("%s: %v", data, err)
		}
		data2, err := encodeTree(again)
		if err != nil || !bytes.Equal(data, data2) {
			t.Fatalf("encoded as\n%s\nand then as\n%s%v", data, data2, err)
		}
	})
}

// bigFolder has n files like those of a media folder.
func bigFolder(n int) []Node {
	at := time.Date(2024, 3, 4, 5, 6, 7, 123456789, time.UTC)
	nodes := make([]Node, n)
	for i := range nodes {
		nodes[i] = Node{
			Name: fmt.Sprintf("picture-%07d.jpg", i), Type: "file", Mode: 0o644, ModTime: at, AccessTime: at, ChangeTime: at,
			UID: 33, GID: 33, User: "www-data", Group: "www-data", Inode: uint64(1_000_000 + i), DeviceID: 65024, Size: 123456, Links: 1,
			Content: []ID{Hash(fmt.Append(nil, i))},
		}
	}
	return nodes
}

// bigFile is one file of n blobs.
func bigFile(n int) []Node {
	content := make([]ID, n)
	for i := range content {
		content[i] = Hash(fmt.Append(nil, i))
	}
	return []Node{{Name: "db.dump", Type: "file", Content: content}}
}

func benchmarkTrees(b *testing.B, f func(b *testing.B, nodes []Node)) {
	b.Run("10000 files", func(b *testing.B) { f(b, bigFolder(10_000)) })
	b.Run("30000 blobs", func(b *testing.B) { f(b, bigFile(30_000)) })
}

func BenchmarkTreeEncode(b *testing.B) {
	benchmarkTrees(b, func(b *testing.B, nodes []Node) {
		b.ReportAllocs()
		for b.Loop() {
			data, err := encodeTree(nodes)
			if err != nil {
				b.Fatal(err)
			}
			b.SetBytes(int64(len(data)))
		}
	})
}

func BenchmarkTreeDecode(b *testing.B) {
	benchmarkTrees(b, func(b *testing.B, nodes []Node) {
		data, err := encodeTree(nodes)
		if err != nil {
			b.Fatal(err)
		}
		b.SetBytes(int64(len(data)))
		b.ReportAllocs()
		for b.Loop() {
			if _, err := decodeTree(data); err != nil {
				b.Fatal(err)
			}
		}
	})
}
