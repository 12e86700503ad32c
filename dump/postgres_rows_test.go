package dump

import (
	"bytes"
	"io"
	"maps"
	"testing"
	"testing/iotest"

	"github.com/caddy-backup/caddy-backup/backup"
)

func TestScriptWatch(t *testing.T) {
	const end = "--\n-- PostgreSQL database dump complete\n--\n\n"
	header := func(table string) string {
		return "--\n-- Data for Name: " + table + "; Type: TABLE DATA; Schema: public; Owner: me\n--\n\n"
	}
	for _, c := range []struct {
		name, script string
		rows         map[string]int64
		whole        bool
	}{
		{"nothing", "", nil, false},
		{"no tables", end, nil, true},
		{"one", header("a") + "COPY public.a (b) FROM stdin;\n1\n2\n\\.\n\n" + end, map[string]int64{"public.a": 2}, true},
		{"on Windows", header("a") + "COPY public.a (b) FROM stdin;\r\n1\r\n\\.\r\n" + end, map[string]int64{"public.a": 1}, true},
		{"empty", header("a") + "COPY public.a (b) FROM stdin;\n\\.\n" + end, map[string]int64{"public.a": 0}, true},
		{"blank rows", header("a") + "COPY public.a (b) FROM stdin;\n\n\n\\.\n" + end, map[string]int64{"public.a": 2}, true},
		{"an old name", header("a") + "COPY a (b) FROM stdin;\n1\n\\.\n" + end, map[string]int64{"a": 1}, true},
		{"quoted", header("a") + "COPY \"p.q\".\"select\" (b) FROM stdin;\n1\n\\.\n" + end, map[string]int64{`"p.q".select`: 1}, true},
		{"a line break", header("a b") + "COPY public.\"a\nb\" (b) FROM stdin;\n1\n\\.\n" + end, map[string]int64{"public.\"a\nb\"": 1}, true},
		{"inserted", header("a") + "INSERT INTO public.a VALUES (1);\nCOPY public.b (c) FROM stdin;\n" + end, nil, true},
		{"in a function", "COPY public.a (b) FROM stdin;\n1\n" + end, nil, true},
		{"cut in rows", header("a") + "COPY public.a (b) FROM stdin;\n1\n" + end, nil, false},
		{"end in a row", header("a") + "COPY public.a (b) FROM stdin;\n\\.\n" + end[:20], map[string]int64{"public.a": 0}, false},
	} {
		for name, r := range map[string]io.Reader{"at once": bytes.NewReader([]byte(c.script)), "byte by byte": iotest.OneByteReader(bytes.NewReader([]byte(c.script)))} {
			w := newScriptWatch(scriptMarks[0].end)
			io.Copy(struct{ io.Writer }{w}, struct{ io.Reader }{r})
			if !maps.Equal(w.rows, c.rows) || (w.whole() == nil) != c.whole {
				t.Errorf("%s, %s: %v, %v; want %v, %v", c.name, name, w.rows, w.whole(), c.rows, c.whole)
			}
		}
	}
}

// However a script is cut into pieces, it is the same script.
func FuzzScriptWatch(f *testing.F) {
	f.Add([]byte("-- Data for Name: a\nCOPY public.a (b) FROM stdin;\n1\n\\.\n"), uint8(3))
	f.Add([]byte("-- Data for Name: a\nCOPY \"a\n\".b (b) FROM stdin;\nlong row\n\\.\n-- PostgreSQL database dump complete\n"), uint8(1))
	f.Fuzz(func(t *testing.T, script []byte, size uint8) {
		once, pieces := newScriptWatch(scriptMarks[0].end), newScriptWatch(scriptMarks[0].end)
		once.Write(script)
		for rest := script; len(rest) > 0; {
			n := min(len(rest), 1+int(size))
			pieces.Write(rest[:n])
			rest = rest[n:]
		}
		if !maps.Equal(once.rows, pieces.rows) || (once.whole() == nil) != (pieces.whole() == nil) {
			t.Errorf("%q: %v, %v", script, once.rows, pieces.rows)
		}
	})
}

func TestPgParts(t *testing.T) {
	for _, c := range []struct {
		name     string
		p        Postgres
		database string
		want     string
	}{
		{"db", Postgres{AllDatabases: true}, "shop", "db.shop.dump"},
		{"my.db", Postgres{AllDatabases: true, Format: formatPlain}, "shop.globals-only", "my.db.shop%2Eglobals-only.sql"},
		{"db", Postgres{AllDatabases: true}, "../%41\n", "db.%2E%2E%2F%2541%0A.dump"},
		{"db", Postgres{AllDatabases: true}, "größe\xff", "db.gr%C3%B6%C3%9Fe%FF.dump"},
	} {
		part := c.p.databasePart(c.name + "." + escapeName(c.database))
		if got := c.p.meaning(part); part.Name != c.want || got.database != c.database || got.globals {
			t.Errorf("%q: %s, and back %+v", c.database, part.Name, got)
		}
	}
	on := true
	for name, want := range map[string]bool{"db": true, "db.globals-only": false} {
		for _, p := range []*Postgres{{Format: formatPlain}, {Format: formatPlain, Globals: &on}} {
			if _, err := p.Parts(t.Context(), name); (err == nil) != want {
				t.Errorf("%s: %v", name, err)
			}
		}
	}
	if got := (&Postgres{AllDatabases: true}).meaning(backup.Part{Name: "db.dump"}); got.database != "" {
		t.Errorf("%+v", got)
	}
}
