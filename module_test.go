package caddybackup

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
	_ "github.com/caddyserver/caddy/v2/modules/filestorage"
)

const canary = "canary-4d1f-secret"

// validate does what `caddy validate` does with an app's configuration.
func validate(t *testing.T, dir, app string) error {
	t.Helper()
	t.Setenv("XDG_DATA_HOME", dir)
	return caddy.Validate(&caddy.Config{
		StorageRaw: json.RawMessage(fmt.Sprintf(`{"module":"file_system","root":%q}`, filepath.Join(dir, "store"))),
		AppsRaw:    caddy.ModuleMap{"backup": json.RawMessage(app)},
		Admin:      &caddy.AdminConfig{Disabled: true},
	})
}

func TestValidateRefuses(t *testing.T) {
	const source = `{"name":"db","source":{"engine":"sqlite","path":"/srv/db.sqlite3"}}`
	t.Setenv("BACKUP_TEST_UNSET", "")
	for _, c := range []struct{ name, app, want string }{
		{"unset placeholder in a password", `{"repositories":{"offsite":{"password":"{env.BACKUP_TEST_UNSET}"}}}`,
			"repository offsite: password: evaluated placeholder {env.BACKUP_TEST_UNSET} is empty; set the variable"},
		{"missing password file", `{"repositories":{"offsite":{"password":"{file./nowhere/password}"}}}`,
			"repository offsite: password: evaluated placeholder {file./nowhere/password} is empty"},
		{"unknown placeholder", `{"repositories":{"default":{"password":"{emv.PASSWORD}"}}}`,
			"repository default: password: unrecognized placeholder {emv.PASSWORD}"},
		{"unset placeholder in a location", `{"repositories":{"default":{"storage":{"scheme":"local","path":"{env.BACKUP_TEST_UNSET}"}}}}`,
			"{env.BACKUP_TEST_UNSET}"},
		{"unset host", `{"host":"{env.BACKUP_TEST_UNSET}"}`, "host: evaluated placeholder"},
		{"cluster without a host", `{"cluster":true}`, "cluster: all members need the same name in snapshots: add a line such as: host shop"},
		{"cluster without a repository", `{"cluster":true,"host":"shop"}`, "cluster: there is no repository that all members reach"},
		{"cluster on each disk", `{"cluster":true,"host":"shop","repositories":{"default":{"password":"x"}}}`,
			"cluster: repository default lies in the data directory of each machine: add a line such as: storage"},
		{"cluster without a password", `{"cluster":true,"host":"shop","repositories":{"default":{"storage":{"scheme":"local","path":"/srv/x"}}}}`,
			"cluster: the password of repository default would be generated on one machine"},
		{"bad timezone", `{"timezone":"Europe/Pari"}`, `bad timezone "Europe/Pari"`},
		{"no scheme", `{"repositories":{"default":{"storage":{"path":"/x","password":"` + canary + `"}}}}`,
			`repository default: storage has no "scheme" that says what it is`},
		{"unknown scheme", `{"repositories":{"default":{"storage":{"scheme":"ftp","password":"` + canary + `"}}}}`,
			`unknown storage "ftp"; known are: local`},
		{"no engine", `{"jobs":[{"name":"shop","sources":[{"name":"db","source":{"dsn":"` + canary + `"}}]}]}`,
			`job shop: source db: source has no "engine"`},
		{"unknown engine", `{"jobs":[{"name":"shop","sources":[{"name":"db","source":{"engine":"oracle","dsn":"` + canary + `"}}]}]}`,
			`job shop: source db: unknown source "oracle"; known are: caddy, command, `},
		{"misspelt engine", `{"jobs":[{"name":"shop","sources":[{"name":"db","source":{"engine":"postgresql","dsn":"` + canary + `"}}]}]}`,
			`job shop: source db: unknown source "postgresql"; did you mean postgres? known are: caddy, command, `},
		{"relative storage", `{"repositories":{"default":{"storage":{"scheme":"local","path":"backups"}}}}`, "not absolute"},
		{"bad compression", `{"repositories":{"default":{"compression":"zip"}}}`,
			"repository default: bad compression value 'zip': must be auto, off or max"},
		{"bad pack size", `{"repositories":{"default":{"pack_size":1}}}`, "repository default: bad pack_size value '1'"},
		{"bad repository name", `{"repositories":{"a/b":{}}}`, "bad repository name 'a/b'"},
		{"one place for two", `{"repositories":{"a":{"storage":{"scheme":"local","path":"/srv/x"}},"b":{"storage":{"scheme":"local","path":"/srv/x/"}}}}`,
			"repositories a and b both lie at /srv/x"},
		{"bad job name", `{"jobs":[{"name":"..","sources":[` + source + `]}]}`, "bad job name '..'"},
		{"job twice", `{"jobs":[{"name":"shop","sources":[` + source + `]},{"name":"shop","sources":[` + source + `]}]}`,
			"job shop is there twice"},
		{"no source", `{"jobs":[{"name":"shop"}]}`, "job shop: has no source: add a line such as"},
		{"source twice", `{"jobs":[{"name":"shop","sources":[` + source + `,` + source + `]}]}`, "job shop: source db is there twice"},
		{"reserved source", `{"jobs":[{"name":"shop","sources":[{"name":"manifest.json","source":{"engine":"sqlite","path":"/srv/db.sqlite3"}}]}]}`,
			"every snapshot has a file of this name"},
		{"unknown repository", `{"jobs":[{"name":"shop","to":"offsite","sources":[` + source + `]}]}`,
			"job shop: there is no repository offsite: say where the job goes with a line such as: to default"},
		{"which of two repositories", `{"repositories":{"a":{},"b":{}},"jobs":[{"name":"shop","sources":[` + source + `]}]}`,
			"job shop: there is no repository default: say where the job goes with a line such as: to a"},
		{"before without a program", `{"jobs":[{"name":"shop","before":[{}],"sources":[` + source + `]}]}`, "job shop: before: command is missing its program"},
		{"null after", `{"jobs":[{"name":"shop","after":[null],"sources":[` + source + `]}]}`, "job shop: after: program 0 is null"},
		{"relative after", `{"jobs":[{"name":"shop","after":[{"command":["./x"]}],"sources":[` + source + `]}]}`, "after: program './x' is neither"},
		{"secret argument of before", `{"jobs":[{"name":"shop","before":[{"command":["x","{env.TOKEN}"]}],"sources":[` + source + `]}]}`, "hand it over with env"},
		{"negative timeout of before", `{"jobs":[{"name":"shop","before":[{"command":["x"],"timeout":-1}],"sources":[` + source + `]}]}`, "before: bad timeout value '-1ns'"},
		{"unset env of after", `{"jobs":[{"name":"shop","after":[{"command":["x"],"env":{"A":"{env.BACKUP_TEST_UNSET}"}}],"sources":[` + source + `]}]}`, "after: env A: evaluated placeholder"},
		{"negative timeout", `{"jobs":[{"name":"shop","timeout":-1,"sources":[` + source + `]}]}`, "job shop: timeout -1ns is negative"},
		{"bad schedule", `{"jobs":[{"name":"shop","schedule":"sometimes","sources":[` + source + `]}]}`, `schedule "sometimes"`},
		{"bad timezone of a job", `{"jobs":[{"name":"shop","timezone":"Europe/Pari","sources":[` + source + `]}]}`, `job shop: bad timezone "Europe/Pari"`},
		{"negative jitter", `{"jobs":[{"name":"shop","jitter":-1,"sources":[` + source + `]}]}`, "job shop: jitter or overdue_after is negative"},
		{"check without a schedule", `{"repositories":{"a":{"check":{"read_data_subset":"5%"}}}}`, "repository a: invalid: check reads data, but has no schedule"},
		{"bad share of a prune", `{"repositories":{"a":{"prune":{"schedule":"daily","max_unused":"x"}}}}`, "repository a: invalid max unused"},
		{"null job", `{"jobs":[null]}`, "job 0 is null"},
		{"null source", `{"jobs":[{"name":"shop","sources":[null]}]}`, "job shop: source 0 is null"},
	} {
		t.Run(c.name, func(t *testing.T) {
			err := validate(t, t.TempDir(), c.app)
			if err == nil {
				t.Fatal("accepted")
			}
			if !strings.Contains(err.Error(), c.want) {
				t.Errorf("got:  %v\nwant: %s", err, c.want)
			}
			if strings.Contains(err.Error(), canary) {
				t.Errorf("the error shows a secret: %v", err)
			}
			if _, held := services.References(serviceKey); held {
				t.Error("a reference to the Service was kept")
			}
		})
	}
}

// TestValidateTouchesNothing: neither a repository nor the data directory comes to be, and nothing stays referenced.
func TestValidateTouchesNothing(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("BACKUP_TEST_PASSWORD", canary)
	err := validate(t, dir, `{
		"repositories": {
			"default": {},
			"other": {"storage": {"scheme": "local", "path": "`+dir+`/other"}, "password": "{env.BACKUP_TEST_PASSWORD}"}
		},
		"jobs": [{"name": "shop", "sources": [
			{"name": "db", "source": {"engine": "sqlite", "path": "`+dir+`/missing.sqlite3"}},
			{"name": "media", "source": {"engine": "files", "folder": "`+dir+`/missing"}}
		]}]
	}`)
	if err != nil {
		t.Fatal(err)
	}
	left, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range left {
		t.Errorf("validating made %s", e.Name())
	}
	if _, held := services.References(serviceKey); held {
		t.Error("a reference to the Service was kept")
	}
}

// TestDefaults: without any word on repositories there is one, in Caddy's data directory.
func TestDefaults(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("XDG_DATA_HOME", dir)
	a := provisioned(t, `{"jobs":[{"name":"shop","sources":[{"name":"db","source":{"engine":"sqlite","path":"/srv/db.sqlite3"}}]}]}`)
	if len(a.config.Repositories) != 1 {
		t.Fatalf("got %d repositories", len(a.config.Repositories))
	}
	r := a.config.Repositories[0]
	if want := filepath.Join(dir, "caddy", "backup", "repository"); r.Name != "default" || r.Storage.Location() != want {
		t.Errorf("got %s at %s, want default at %s", r.Name, r.Storage.Location(), want)
	}
	if r.Password != nil {
		t.Error("a password was made before there is a repository")
	}
	if j := a.config.Jobs[0]; j.To != "default" || j.Off || j.Sources[0].Kind != "sqlite" {
		t.Errorf("got job %+v", j)
	}
	if a.config.Versions["caddy"] == "" || a.config.Versions["caddy-backup"] == "" {
		t.Errorf("got versions %v", a.config.Versions)
	}
}

// TestOnlyRepositoryIsTheDefault: a single repository needs no `to`, whatever its name.
func TestOnlyRepositoryIsTheDefault(t *testing.T) {
	t.Setenv("XDG_DATA_HOME", t.TempDir())
	a := provisioned(t, `{"repositories":{"nas":{}},"jobs":[{"name":"shop","sources":[{"name":"db","source":{"engine":"sqlite","path":"/srv/db.sqlite3"}}]}]}`)
	if to := a.config.Jobs[0].To; to != "nas" {
		t.Errorf("the job goes to %q", to)
	}
}

func TestPasswordFilesAreLeftOut(t *testing.T) {
	got := filesIn("{file./run/secrets/a}{env.B}{file./run/secrets/c}")
	if fmt.Sprint(got) != "[/run/secrets/a /run/secrets/c]" {
		t.Errorf("got %v", got)
	}
}

// provisioned is an App as Caddy hands it out.
func provisioned(t *testing.T, app string) *App {
	t.Helper()
	ctx, err := caddy.ProvisionContext(&caddy.Config{AppsRaw: caddy.ModuleMap{"backup": json.RawMessage(app)}})
	if err != nil {
		t.Fatal(err)
	}
	got, err := ctx.AppIfConfigured("backup")
	if err != nil {
		t.Fatal(err)
	}
	a := got.(*App)
	t.Cleanup(func() {
		if err := a.Cleanup(); err != nil {
			t.Error(err)
		}
	})
	return a
}
