package caddybackup

import (
	"bytes"
	"errors"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/caddy-backup/caddy-backup/backup"
)

var someFindings = backup.Examination{Level: backup.LevelWarning, Diagnoses: []backup.Diagnosis{
	{About: "server", Level: backup.LevelOK, Text: "clock 2026-11-22T02:32:19Z"},
	{About: "server", Level: backup.LevelOK, Text: "Caddy's storage works"},
	{About: "repository default", Level: backup.LevelOK, Text: "opens at /srv/backups"},
	{About: "repository default", Level: backup.LevelWarning, Text: "lies on the same disk as source db of job shop: \x1b[2Jand a long text that no terminal cuts"},
	{About: "repository default", Level: backup.LevelNote, Text: "it was never checked"},
}}

// TestPrintExamination: one line for each thing, what is not well below it, colour and cutting on a terminal only.
func TestPrintExamination(t *testing.T) {
	for _, c := range []struct {
		name string
		on   screen
		want string
	}{
		{"a file", screen{}, `ok       server              clock 2026-11-22T02:32:19Z; Caddy's storage works
WARNING  repository default  opens at /srv/backups
         WARNING: "lies on the same disk as source db of job shop: \x1b[2Jand a long text that no terminal cuts"
         note: it was never checked

nothing would fail tonight; 1 warning
`},
		{"a terminal", screen{width: 50, colour: true}, "\x1b[32mok     \x1b[0m  server              clock 2026-11-22T02:…\n" +
			"\x1b[33mWARNING\x1b[0m  repository default  opens at /srv/backups\n" +
			"         \x1b[33mWARNING\x1b[0m: \"lies on the same disk as source db of job shop: \\x1b[2Jand a long text that no terminal cuts\"\n" +
			"         \x1b[36mnote\x1b[0m: it was never checked\n\nnothing would fail tonight; 1 warning\n"},
	} {
		var b bytes.Buffer
		c.on.Writer = &b
		if err := c.on.print(someFindings); err != nil || b.String() != c.want {
			t.Errorf("%s: %v\n%s\nwant\n%s", c.name, err, b.String(), c.want)
		}
	}
	narrow := screen{width: 10}
	if line := narrow.cut(9, strings.Repeat("ü", 50)); utf8.RuneCountInString(line) != 20 {
		t.Errorf("%q", line)
	}
}

// TestJudged: warnings are no failure.
func TestJudged(t *testing.T) {
	if err := judged(someFindings); err != nil {
		t.Error(err)
	}
	failing := backup.Examination{Level: backup.LevelError, Diagnoses: append([]backup.Diagnosis{{About: "x", Level: backup.LevelError}}, someFindings.Diagnoses...)}
	if err := judged(failing); err == nil || exitCode(err) != exitFailed || !strings.Contains(err.Error(), "1 of 6 findings are errors; 1 warning") {
		t.Error(err)
	}
	if code := exitCode(errors.New("no server")); code != exitFailed {
		t.Error(code)
	}
}
