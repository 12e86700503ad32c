package dump

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/caddy-backup/caddy-backup/backup"
	"github.com/caddy-backup/caddy-backup/dump/dumptest"
)

// module is what every source of this package is.
type module interface {
	caddyfile.Unmarshaler
	caddy.Provisioner
	caddy.Validator
}

// parse reads a source's segment of a Caddyfile into m, and goes through JSON as Caddy does.
func parse(t testing.TB, m module, text string) (config string, err error) {
	t.Helper()
	if err := m.UnmarshalCaddyfile(caddyfile.NewTestDispenser(text)); err != nil {
		return "", err
	}
	b, err := json.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	return string(b), nil
}

// provision does what Caddy does between the JSON and the first run.
func provision(m module) error {
	if err := m.Provision(caddy.Context{Context: context.Background()}); err != nil {
		return err
	}
	return m.Validate()
}

// configured parses and provisions, and fails the test when that fails.
func configured[M module](t testing.TB, m M, text string) M {
	t.Helper()
	if _, err := parse(t, m, text); err != nil {
		t.Fatal(err)
	}
	if err := provision(m); err != nil {
		t.Fatal(err)
	}
	return m
}

// grammarCase is a segment of a Caddyfile and the JSON or the error that it gives.
type grammarCase struct{ text, json, err string }

func testGrammar[M module](t *testing.T, fresh func() M, cases []grammarCase) {
	t.Helper()
	for _, c := range cases {
		config, err := parse(t, fresh(), c.text)
		if c.err != "" {
			if err == nil || !strings.Contains(err.Error(), c.err) {
				t.Errorf("%s\nerror = %v, want %q", c.text, err, c.err)
			}
			continue
		}
		if err != nil || config != c.json {
			t.Errorf("%s\nJSON = %s, want %s; err = %v", c.text, config, c.json, err)
		}
	}
}

func TestCommandGrammar(t *testing.T) {
	testGrammar(t, func() *Command { return new(Command) }, []grammarCase{
		{text: "command x {\n timeout -1s\n}", err: "bad timeout value"},
		{text: "command x {\n user shop\n}", json: `{"command":["x"],"user":"shop"}`},
		{text: `command ldap-dump -x "a b"`, json: `{"command":["ldap-dump","-x","a b"]}`},
		{text: "command dump {\n env A 1\n env B {env.B}\n dir /srv\n timeout 10m\n file all.sql\n}",
			json: `{"command":["dump"],"env":{"A":"1","B":"{env.B}"},"dir":"/srv","timeout":600000000000,"file":"all.sql"}`},
		{text: "command", err: "wrong argument count"},
		{text: "command x {\n env A\n}", err: "wrong argument count"},
		{text: "command x {\n env A 1\n env A 2\n}", err: "env A already specified"},
		{text: "command x {\n dir\n}", err: "wrong argument count"},
		{text: "command x {\n dir /a\n dir /b\n}", err: "dir already specified"},
		{text: "command x {\n timeout soon\n}", err: "bad timeout value 'soon'"},
		{text: "command x {\n timeout 1m 2m\n}", err: "wrong argument count"},
		{text: "command x {\n file a b\n}", err: "wrong argument count"},
		{text: "command x {\n shell on\n}", err: "unrecognized subdirective 'shell'"},
	})
}

func TestCommandValidate(t *testing.T) {
	for _, c := range []struct{ text, err string }{
		{"command ./x", "neither an absolute path nor a name"},
		{`command x {env.SECRET}`, "every user of the machine can read arguments"},
		{"command x {\n env A {env.DUMP_TEST_UNSET}\n}", "env A: evaluated placeholder {env.DUMP_TEST_UNSET} is empty; set the variable"},
		{"command x {\n env A=B c\n}", "bad env key 'A=B'"},
		{"command x {\n dir srv\n}", "dir 'srv' is not an absolute path"},
		{"command x {\n file a/b\n}", "bad file value 'a/b'"},
		{"command x {\n file ..\n}", "bad file value '..'"},
	} {
		m := new(Command)
		if _, err := parse(t, m, c.text); err != nil {
			t.Fatal(err)
		}
		if err := provision(m); err == nil || !strings.Contains(err.Error(), c.err) {
			t.Errorf("%s\nerror = %v, want %q", c.text, err, c.err)
		}
	}
}

func TestCommandKeepsSecretsToItself(t *testing.T) {
	t.Setenv("DUMP_TEST_SECRET", "canary")
	m := configured(t, new(Command), "command x {\n env PASSWORD {env.DUMP_TEST_SECRET}\n}")
	if b, _ := json.Marshal(m); strings.Contains(string(b), "canary") {
		t.Errorf("the secret is in the JSON: %s", b)
	}
}

func TestCommandContract(t *testing.T) {
	dir := t.TempDir()
	script := filepath.Join(dir, "ldap-dump")
	if err := os.WriteFile(script, []byte("#!/bin/sh\necho \"$GREETING\"; seq 100000; sleep 0.2; echo end\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	m := configured(t, new(Command), "command "+script+" {\n env GREETING canary\n}")
	dumptest.Run(t, dumptest.Kit{Source: m, Name: "ldap", Secrets: []string{"canary"}})
}

func TestCommandFaults(t *testing.T) {
	for _, c := range []struct{ name, text, err string }{
		{"prints nothing", "command /bin/true", "printed nothing"},
		{"fails after output", `command /bin/sh -c "echo data; echo 'lost connection' >&2; exit 1"`, "ended with status 1\nlost connection"},
		{"cut off", `command /bin/sh -c "echo data; kill -9 $$"`, "killed by signal 9"},
		{"hangs", "command sleep 60 {\n timeout 100ms\n}", "it took longer than its timeout of 100ms"},
		{"not there", "command no-such-dumper", "program no-such-dumper is not installed"},
	} {
		t.Run(c.name, func(t *testing.T) {
			dumptest.NothingLeft(t)
			m := configured(t, new(Command), c.text)
			_, err := m.Dump(t.Context(), backup.Part{}, io.Discard, dumptest.Task(t))
			if err == nil || !strings.Contains(said(err), c.err) {
				t.Errorf("error = %s, want %q", said(err), c.err)
			}
			if c.name == "hangs" && !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("a timeout is not told as such: %v", err)
			}
		})
	}
}

func TestCommandPart(t *testing.T) {
	for text, want := range map[string]string{"command x": "ldap.dump", "command x {\n file all.ldif\n}": "all.ldif"} {
		parts, err := configured(t, new(Command), text).Parts(t.Context(), "ldap")
		if err != nil || len(parts) != 1 || parts[0].Name != want {
			t.Errorf("%s: parts = %v, %v", text, parts, err)
		}
	}
}
