package handler

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
)

func TestAccelConfig(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("XDG_DATA_HOME", t.TempDir())
	t.Setenv("XDG_CONFIG_HOME", t.TempDir())
	inRepository := filepath.Join(dir, "link")
	if err := os.Symlink("/srv", inRepository); err != nil {
		t.Fatal(err)
	}
	env := newEnv(t)
	t.Setenv("ACCEL_ROOT", dir)
	files := func(prefix, root string) string {
		return fmt.Sprintf(`{"files": [{"prefix": %q, "root": %q}]}`, prefix, root)
	}
	for config, want := range map[string]string{
		`{}`: "has nothing to serve",
		`{"snapshots": [{"prefix": "/b/", "jobs": []}]}`:              "opens no job",
		`{"snapshots": [{"prefix": "/b/", "jobs": ["shop", "*"]}]}`:   "names jobs beside *",
		`{"snapshots": [{"prefix": "/b/", "jobs": ["shop", "sho"]}]}`: "there is no job sho; there are: shop",
		`{"snapshots": [{"prefix": "/b/", "jobs": ["*"]}]}`:           "",
		files("/a/", dir):                         "",
		files("/a/", "{env.ACCEL_ROOT}/x"):        "",
		files("/a/", "{env.ACCEL_UNSET}/x"):       "ACCEL_UNSET",
		files("a/", dir):                          "bad prefix 'a/'",
		files("/a", dir):                          "bad prefix '/a'",
		files("", dir):                            "bad prefix ''",
		files("/a/../b/", dir):                    "bad prefix",
		files("/a%20/", dir):                      "bad prefix",
		files("/a?/", dir):                        "bad prefix",
		files("/a/", "files"):                     "bad files folder 'files': must be an absolute path",
		files("/a/", "/"):                         "and not /",
		files("/a/", "/srv/.."):                   "and not /",
		files("/a/", "/srv"):                      "/srv/repository is nothing to serve",
		files("/a/", "/srv/repository/data"):      "/srv/repository is nothing to serve",
		files("/a/", "/srv/repository2"):          "",
		files("/a/", inRepository):                "/srv/repository is nothing to serve",
		files("/a/", inRepository+"/repository/"): "/srv/repository is nothing to serve",
		files("/a/", caddy.AppDataDir()):          "is nothing to serve",
		files("/a/", caddy.AppConfigDir()):        "is nothing to serve",
		`{"sendfile_roots": ["/srv/repository"]}`: "sendfile_root /srv/repository: /srv/repository is nothing to serve",
		`{"files": [{"prefix": "/a/", "root": "/x"}], "snapshots": [{"prefix": "/a/b/", "jobs": ["*"]}]}`: "prefixes /a/b/ and /a/ overlap",
	} {
		_, _, err := provisionModule(t, env.Service, "http.handlers.backup_accel", config)
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%s: got %v, want %q", config, err, want)
		}
	}
	if _, _, err := provisionModule(t, nil, "http.handlers.backup_accel", files("/a/", dir)); err != nil {
		t.Errorf("plain files need no app: %v", err)
	}
	_, _, err := provisionModule(t, nil, "http.handlers.backup_accel", `{"snapshots": [{"prefix": "/b/", "jobs": ["*"]}]}`)
	if err == nil || !strings.Contains(err.Error(), "needs the app backup") {
		t.Errorf("snapshots without the app: %v", err)
	}
}

func TestAccelDirective(t *testing.T) {
	out, err := adapt(t, "backup_accel @x {\n\tsnapshots /b/ shop blog\n\tsnapshots /all/ *\n\tfiles /f/ /srv/files\n\t"+
		"files /g/ {env.ROOT}/g\n\tsendfile_root /srv/files\n\tsendfile_root /srv/more\n}\n@x path /x/*\n")
	want := `{"files":[{"prefix":"/f/","root":"/srv/files"},{"prefix":"/g/","root":"{env.ROOT}/g"}],"handler":"backup_accel",` +
		`"sendfile_roots":["/srv/files","/srv/more"],` +
		`"snapshots":[{"jobs":["shop","blog"],"prefix":"/b/"},{"jobs":["*"],"prefix":"/all/"}]}`
	if err != nil || !strings.Contains(out, want) {
		t.Errorf("%v\n%s", err, out)
	}
	if !json.Valid([]byte(out)) {
		t.Error("no JSON")
	}
}
