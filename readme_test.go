package caddybackup_test

import (
	"encoding/json"
	"os"
	"reflect"
	"regexp"
	"testing"

	"github.com/caddyserver/caddy/v2/caddyconfig"
	_ "github.com/caddyserver/caddy/v2/modules/standard"

	_ "github.com/caddy-backup/caddy-backup"
)

// TestReadme keeps what the README shows true: its Caddyfiles are accepted and well formatted, its JSON is what the
// first of them becomes, and its links lead somewhere.
func TestReadme(t *testing.T) {
	text, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	caddyfiles := fenced(text, "caddyfile")
	if len(caddyfiles) != 2 {
		t.Fatalf("the README has %d Caddyfiles, not a minimal and a full one", len(caddyfiles))
	}
	var configs []map[string]map[string]any
	for i, c := range caddyfiles {
		adapted, warnings, err := caddyconfig.GetAdapter("caddyfile").Adapt(c, nil)
		if err != nil || len(warnings) > 0 {
			t.Fatalf("Caddyfile %d: %v, warnings %v", i+1, err, warnings)
		}
		var config map[string]map[string]any
		if err := json.Unmarshal(adapted, &config); err != nil {
			t.Fatal(err)
		}
		configs = append(configs, config)
	}
	var shown map[string]any
	if err := json.Unmarshal(fenced(text, "json")[0], &shown); err != nil {
		t.Fatal(err)
	}
	if got := configs[0]["apps"]["backup"]; !reflect.DeepEqual(got, shown["backup"]) {
		t.Errorf("the README's JSON is %v\nthe minimal Caddyfile becomes %v", shown["backup"], got)
	}
	for _, link := range regexp.MustCompile(`\]\(([^):]+)\)`).FindAllSubmatch(text, -1) {
		if _, err := os.Stat(string(link[1])); err != nil {
			t.Error(err)
		}
	}
}

// fenced returns the blocks of a language.
func fenced(text []byte, language string) (blocks [][]byte) {
	for _, m := range regexp.MustCompile("(?s)```"+language+"\n(.*?)```").FindAllSubmatch(text, -1) {
		blocks = append(blocks, m[1])
	}
	return blocks
}

// TestMonitoringReadme: the Caddyfile that it shows is accepted.
func TestMonitoringReadme(t *testing.T) {
	text, err := os.ReadFile("examples/monitoring/README.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range fenced(text, "caddyfile") {
		if _, warnings, err := caddyconfig.GetAdapter("caddyfile").Adapt(c, nil); err != nil || len(warnings) > 0 {
			t.Errorf("%v, warnings %v", err, warnings)
		}
	}
}
