// Package integration tests the whole: Caddyfiles as they are adapted, a Caddy with this plugin in this process, and
// the built program as a child process.
package integration

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2/caddyconfig"

	_ "github.com/caddyserver/caddy/v2/modules/standard"

	_ "github.com/caddy-backup/caddy-backup"
)

var update = flag.Bool("update", false, "write the goldens anew, but for those of errors")

// TestAdapt holds each golden: a Caddyfile, a line of dashes, and the JSON that it becomes, or a part of the error.
func TestAdapt(t *testing.T) {
	files, err := filepath.Glob("adapt/*.caddyfiletest")
	if err != nil || len(files) == 0 {
		t.Fatalf("no goldens: %v", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".caddyfiletest"), func(t *testing.T) {
			data, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			input, want, found := strings.Cut(string(data), "\n----------\n")
			if !found {
				t.Fatal("no line of dashes")
			}
			input, want = strings.TrimSpace(input)+"\n", strings.TrimSpace(want)
			got, err := adapt(input)
			wantsError := strings.HasPrefix(filepath.Base(file), "error_")
			if !wantsError {
				checkAdapted(t, file, input, got, want, err)
			} else if err == nil {
				t.Errorf("adapted, but want an error with: %s\n%s", want, got)
			} else if !strings.Contains(err.Error(), want) {
				t.Errorf("got the error:  %v\nwant one with:  %s", err, want)
			}
		})
	}
}

func checkAdapted(t *testing.T, file, input, got, want string, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	if *update {
		if err := os.WriteFile(file, []byte(input+"----------\n"+got+"\n"), 0o644); err != nil {
			t.Fatal(err)
		}
	} else if got != want {
		t.Errorf("adapted to:\n%s\nwant:\n%s", got, want)
	}
}

// adapt turns a Caddyfile into indented JSON.
func adapt(caddyfile string) (string, error) {
	result, _, err := caddyconfig.GetAdapter("caddyfile").Adapt([]byte(caddyfile), map[string]any{"filename": "Caddyfile"})
	if err != nil {
		return "", err
	}
	var out bytes.Buffer
	err = json.Indent(&out, result, "", "\t")
	return out.String(), err
}
