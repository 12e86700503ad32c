package storage_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/caddy-backup/caddy-backup/storage"
)

func TestModuleFor(t *testing.T) {
	tests := []struct{ location, module, errorHas string }{
		{"/srv/backups", "local", ""},
		{"/", "local", ""},
		{"{env.BACKUPS}", "local", ""},
		{"{env.BACKUPS}/shop", "local", ""},
		{"sftp://backup@nas:22/srv/backups", "", `storage "sftp" is not supported yet`},
		{"s3://s3.example.net/bucket", "", `storage "s3" is not supported yet`},
		{"S3://s3.example.net/bucket", "", `storage "s3" is not supported yet`},
		{"rest:https://host/path/", "", `storage "rest" is not supported yet`},
		{"ftp://host/path", "", `unknown kind of storage "ftp"`},
		{"backups", "", `"backups" is a relative path`},
		{"./backups:x", "", `"./backups:x" is a relative path`},
		{"~/backups", "", "relative path"},
		{"", "", "location is missing"},
	}
	for _, tt := range tests {
		module, err := storage.ModuleFor(tt.location)
		if module != tt.module || (err == nil) != (tt.errorHas == "") {
			t.Errorf("%q: %q, %v", tt.location, module, err)
		}
		if err != nil && (!strings.Contains(err.Error(), tt.errorHas) || !strings.Contains(err.Error(), "/srv/backups")) {
			t.Errorf("%q: %v", tt.location, err)
		}
	}
}

// parse reads a storage line as a repository block does.
func parse(t *testing.T, line string) (json.RawMessage, error) {
	t.Helper()
	d := caddyfile.NewTestDispenser(line)
	d.Next() // storage
	d.NextArg()
	name, err := storage.ModuleFor(d.Val())
	if err != nil {
		t.Fatal(err)
	}
	unm, err := caddyfile.UnmarshalModule(d, "backup.storages."+name)
	if err != nil {
		return nil, err
	}
	return caddyconfig.JSONModuleObject(unm, "scheme", name, nil), nil
}

func TestCaddyfile(t *testing.T) {
	got, err := parse(t, "storage /srv/backups\n")
	if want := `{"path":"/srv/backups","scheme":"local"}`; err != nil || string(got) != want {
		t.Errorf("%s, %v; want %s", got, err, want)
	}
	for line, want := range map[string]string{
		"storage /srv/backups extra":           `unexpected "extra" after the storage's location`,
		"storage /srv/backups {\n region x\n}": `no options, so "region" means nothing here`,
	} {
		if _, err := parse(t, line); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v; want %q", line, err, want)
		}
	}
}

// load makes the module from JSON as Caddy does, and returns its location.
func load(t *testing.T, config string) (string, error) {
	t.Helper()
	caddyCtx, cancel := caddy.NewContext(caddy.Context{Context: t.Context()})
	defer cancel()
	host := struct {
		Storage json.RawMessage `caddy:"namespace=backup.storages inline_key=scheme"`
	}{json.RawMessage(config)}
	v, err := caddyCtx.LoadModule(&host, "Storage")
	if err != nil {
		return "", err
	}
	return v.(interface{ Location() string }).Location(), nil
}

func TestProvision(t *testing.T) {
	t.Setenv("TEST_BACKUPS", "/srv/from-env")
	t.Setenv("TEST_RELATIVE", "sftp://nas/path")
	for config, want := range map[string]string{
		`{"scheme":"local","path":"/srv/backups/"}`:           "/srv/backups",
		`{"scheme":"local","path":"{env.TEST_BACKUPS}/shop"}`: "/srv/from-env/shop",
	} {
		if got, err := load(t, config); err != nil || got != want {
			t.Errorf("%s: %q, %v", config, got, err)
		}
	}
	for config, want := range map[string]string{
		`{"scheme":"local"}`:                                   "path is missing",
		`{"scheme":"local","path":"backups"}`:                  `"backups" (from "backups") is not absolute`,
		`{"scheme":"local","path":"{env.TEST_RELATIVE}"}`:      "is not absolute",
		`{"scheme":"local","path":"/srv/{env.TEST_UNSET_XY}"}`: "env.TEST_UNSET_XY",
		`{"scheme":"local","path":"/srv","region":"x"}`:        "region",
	} {
		if _, err := load(t, config); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v; want %q", config, err, want)
		}
	}
}
