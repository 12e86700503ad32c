package handler

import (
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"
	_ "github.com/caddyserver/caddy/v2/modules/caddyhttp/caddyauth" // basic_auth
	_ "github.com/caddyserver/caddy/v2/modules/caddyhttp/encode/gzip"
)

// adapt makes JSON of a site with one directive.
func adapt(t *testing.T, directive string) (string, error) {
	t.Helper()
	adapter := caddyfile.Adapter{ServerType: httpcaddyfile.ServerType{}}
	out, _, err := adapter.Adapt([]byte("localhost:1234 {\n\t"+directive+"\n}\n"), nil)
	return string(out), err
}

func TestDirective(t *testing.T) {
	for directive, want := range map[string]string{
		"backup":      `{"handler":"backup"}`,
		"backup {\n}": `{"handler":"backup"}`,
		"backup @x {\n\tadmin anna\n}\n@x path /x/*":         `"match":[{"path":["/x/*"]}]`,
		"backup {\n\tadmin anna ada\n\tadmin abe\n}":         `"admins":["anna","ada","abe"]`,
		"backup {\n\toperator otto\n\tviewer vera victor\n}": `"operators":["otto"],"viewers":["vera","victor"]`,
		"backup {\n\tuser {header.Remote-User}\n}":           `"user":"{http.request.header.Remote-User}"`,
		"backup {\n\tinsecure_no_auth\n\tread_only\n}":       `"insecure_no_auth":true,"read_only":true`,
		"backup {\n\thealth_token {env.TOKEN}\n}":            `"health_token":"{env.TOKEN}"`,
		"backup {\n\trestore_root /srv/restore\n}":           `"restore_root":"/srv/restore"`,
		"backup {\n\tallow_upload\n}":                        `"allow_upload":2147483648`,
		"backup {\n\tallow_upload 500MiB\n}":                 `"allow_upload":524288000`,
	} {
		if out, err := adapt(t, directive); err != nil || !strings.Contains(out, want) {
			t.Errorf("%s: %v\n%s", directive, err, out)
		}
	}
}

func TestDirectiveErrors(t *testing.T) {
	for directive, want := range map[string]string{
		"backup anna":                                      "wrong argument count",
		"backup {\n\tadmin\n}":                             "wrong argument count",
		"backup {\n\tuser\n}":                              "wrong argument count",
		"backup {\n\tuser a b\n}":                          "wrong argument count",
		"backup {\n\tuser a\n\tuser b\n}":                  "user already specified",
		"backup {\n\thealth_token \"\"\n}":                 "bad health_token value: must not be empty",
		"backup {\n\tread_only yes\n}":                     "wrong argument count",
		"backup {\n\tinsecure\n}":                          "unrecognized subdirective 'insecure'",
		"backup {\n\tsettings off\n}":                      "'settings' is not supported yet",
		"backup {\n\tallow_upload 1GiB 2GiB\n}":            "wrong argument count",
		"backup {\n\tallow_upload much\n}":                 "bad allow_upload value 'much'",
		"backup {\n\tallow_upload 0\n}":                    "bad allow_upload value '0'",
		"backup {\n\tallow_upload\n\tallow_upload 1GiB\n}": "allow_upload already specified",
	} {
		if _, err := adapt(t, directive); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want %q", directive, err, want)
		}
	}
}

// The order without `order` in the Caddyfile: after authentication and encode, before everything that answers.
func TestDirectiveOrder(t *testing.T) {
	out, err := adapt(t, "respond no\n\tbackup\n\tencode gzip\n\tbasic_auth {\n\t\tanna $2a$14$x\n\t}\n")
	if err != nil {
		t.Fatal(err)
	}
	last := -1
	for _, handler := range []string{`"authentication"`, `"encode"`, `"backup"`, `"static_response"`} {
		at := strings.Index(out, `"handler":`+handler)
		if at < last {
			t.Errorf("%s is too early: %s", handler, out)
		}
		last = at
	}
}
