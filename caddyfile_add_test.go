package caddybackup

import (
	"encoding/json"
	"strings"
	"testing"
)

// TestJobWords: what a command line says is read by the parser of the Caddyfile, whatever stands in the words.
func TestJobWords(t *testing.T) {
	for _, c := range []struct {
		words jobWords
		want  string // the JSON, or an error
	}{
		{jobWords{job: "shop", source: []string{"db", "sqlite", "/srv/a b.db"}},
			`{"name":"shop","sources":[{"name":"db","source":{"engine":"sqlite","path":"/srv/a b.db"}}]}`},
		{jobWords{job: "shop", source: []string{"out", "command", "sh", "-c", "echo \"1\"\necho {2}\n# 3"}, set: blockLines{words: [][]string{{"to", "cloud"}}}},
			`{"name":"shop","sources":[{"name":"out","source":{"command":["sh","-c","echo \"1\"\necho {2}\n# 3"],"engine":"command"}}],"to":"cloud"}`},
		{jobWords{job: "shop", source: []string{"db", "django", "/m.py"},
			with: blockLines{words: [][]string{{"apps", "a", "b"}}, written: []string{"exclude c", "env X {env.Y}\nindent 2"}},
			set:  blockLines{written: []string{"retention {\n\tdaily 7\n}", "schedule daily 03:15"}}},
			`{"name":"shop","sources":[{"name":"db","source":{"apps":["a","b"],"engine":"django","env":{"X":"{env.Y}"},"exclude":["c"],"indent":2,"manage":"/m.py"}}],` +
				`"schedule":"daily 03:15","retention":{"daily":7}}`},

		{jobWords{job: "a b", source: []string{"db", "sqlite", "/db"}}, "bad job name 'a b'"},
		{jobWords{job: "shop", source: []string{"db", "sqlite"}}, "wrong argument count"},
		{jobWords{job: "shop", source: []string{"db", "sqlite", "/db", "}"}}, "wrong argument count"},
		{jobWords{job: "shop", source: []string{"db", "sqlite", "/db"}, with: blockLines{written: []string{"x y", "z"}}}, "unrecognized subdirective 'x', at --with 1:1"},
		{jobWords{job: "shop", source: []string{"db", "sqlite", "/db"}, set: blockLines{written: []string{"}\njob other {\nsource out command ls"}}}, "there are 2 jobs"},
		{jobWords{job: "shop", source: []string{"db", "sqlite", "/db"}, set: blockLines{written: []string{"}\nrepository x {\nstorage /x"}}}, "'repository' is not the beginning of a job"},
	} {
		j, err := c.words.parse()
		got, _ := json.Marshal(j)
		if err != nil {
			got = []byte(err.Error())
		}
		if string(got) != c.want && (err == nil || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%+v:\ngot  %s\nwant %s", c.words, got, c.want)
		}
	}
}
