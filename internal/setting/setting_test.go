package setting

import (
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
)

func TestResolve(t *testing.T) {
	t.Setenv("SETTING_THERE", "value")
	t.Setenv("SETTING_EMPTY", "")
	if all, err := ResolveAll("host", []string{"plain", "{env.SETTING_THERE}-1"}); err != nil || strings.Join(all, " ") != "plain value-1" {
		t.Errorf("%q, %v", all, err)
	}
	for _, bad := range []string{"s3cret-{env.SETTING_EMPTY}", "s3cret-{env.SETTING_NOT_THERE}", "s3cret-{nothing.such}", `{"PASSWORD": "s3cret"}`, `{"A": "s3cret {env.SETTING_THERE}"}`} {
		_, err := Resolve("password", bad)
		if err == nil {
			t.Errorf("%s: no error", bad)
		} else if !strings.HasPrefix(err.Error(), "password: ") || strings.Contains(err.Error(), "s3cret") {
			t.Errorf("%s: %v", bad, err)
		}
	}
}

func TestOneArg(t *testing.T) {
	for text, want := range map[string]string{
		"word one": "", "word": "rgument", "word one two": "rgument", `word ""`: "bad word value: must not be empty",
	} {
		d := caddyfile.NewTestDispenser(text)
		d.Next()
		to := ""
		if err := OneArg(d, &to); (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", text, err)
		}
	}
	d := caddyfile.NewTestDispenser("word two")
	d.Next()
	to := "one"
	if err := OneArg(d, &to); err == nil || !strings.Contains(err.Error(), "word already specified") || to != "one" {
		t.Errorf("%q, %v", to, err)
	}
}
