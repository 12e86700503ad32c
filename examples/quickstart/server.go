package main

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	_ "github.com/caddyserver/caddy/v2/modules/standard"
	"golang.org/x/crypto/bcrypt"

	_ "github.com/caddy-backup/caddy-backup"
	"github.com/caddy-backup/caddy-backup/handler"
)

// places are the paths of one quickstart, all below its folder.
type places struct{ folder, shop, restored, repository, caddyfile, socket string }

func placesIn(folder string) places {
	in := func(name string) string { return filepath.Join(folder, name) }
	return places{
		folder: folder, shop: in("shop.db"), restored: in("restored.db"),
		repository: in("repository"), caddyfile: in("Caddyfile"), socket: in("admin.sock"),
	}
}

// The first line tells a folder of ours, which may be emptied, from any other.
const firstLine = "# Written by examples/quickstart."

// The admin endpoint is a socket that only we may open, and all state lies in the folder, so that the quickstart does
// not meet a Caddy that runs on this machine already.
const caddyfileText = firstLine + `
{
	admin "unix/%[1]s/admin.sock|0600"
	persist_config off
	storage file_system "%[1]s/caddy"
	log {
		output file "%[1]s/caddy.log"
	}
%[2]s}

http://:%[3]d {
	bind 127.0.0.1
	basic_auth {
		demo %[4]s
	}
	backup {
		admin demo
	}
}
`

// backupOption is the part of the Caddyfile that matters.
func backupOption(p places) string {
	return fmt.Sprintf(`	backup {
		repository {
			storage "%s"
		}
		job shop {
			source db sqlite "%s"
		}
	}
`, p.repository, p.shop)
}

// writeCaddyfile writes the configuration of the quickstart.
func writeCaddyfile(p places, port int) error {
	hash, err := bcrypt.GenerateFromPassword([]byte("demo"), bcrypt.DefaultCost)
	if err != nil {
		return err
	}
	text := fmt.Sprintf(caddyfileText, p.folder, backupOption(p), port, hash)
	return os.WriteFile(p.caddyfile, []byte(text), 0o600)
}

// startCaddy runs Caddy in this process, as "caddy run" would with this Caddyfile, until caddy.Stop.
func startCaddy(caddyfile string) error {
	text, err := os.ReadFile(caddyfile)
	if err != nil {
		return err
	}
	config, warnings, err := caddyconfig.GetAdapter("caddyfile").Adapt(text, map[string]any{"filename": caddyfile})
	if err != nil {
		return err
	}
	for _, w := range warnings {
		fmt.Fprintln(os.Stderr, "caddy:", w)
	}
	caddy.BufferedLog() // the story has the terminal: what Caddy says before its log file is open stays in memory
	return caddy.Load(config, true)
}

// newClient talks to the API on Caddy's admin endpoint, as "caddy backup" does.
func newClient(socket string) *handler.Client {
	var d net.Dialer
	return &handler.Client{
		Base: "http://127.0.0.1/backup/",
		HTTP: &http.Client{Transport: &http.Transport{
			DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) { return d.DialContext(ctx, "unix", socket) },
		}},
	}
}

// choosePort takes the port that was asked for, or any free one when it is taken.
func choosePort(wanted int) (int, error) {
	for _, port := range []int{wanted, 0} {
		l, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
		if err == nil {
			defer l.Close()
			return l.Addr().(*net.TCPAddr).Port, nil
		}
	}
	return 0, fmt.Errorf("no free port on 127.0.0.1")
}

// prepare makes the folder, empty. Only what an earlier quickstart left there is deleted.
func prepare(folder string) (places, error) {
	folder, err := filepath.Abs(folder)
	if err != nil {
		return places{}, err
	}
	p := placesIn(folder)
	// A socket's path is at most 107 bytes long; a quote or a brace would mean something to the Caddyfile.
	if len(p.socket) > 107 || strings.ContainsAny(folder, "\"\\{}|") {
		return p, fmt.Errorf("the path %s is too long or too odd for a quickstart: choose another with -dir", folder)
	}
	left, err := os.ReadDir(folder)
	if err != nil && !os.IsNotExist(err) {
		return p, err
	}
	if len(left) > 0 {
		old, _ := os.ReadFile(p.caddyfile)
		if !strings.HasPrefix(string(old), firstLine) {
			return p, fmt.Errorf("%s is not empty and was not made by the quickstart: choose another with -dir", folder)
		}
		if err := os.RemoveAll(folder); err != nil {
			return p, err
		}
	}
	return p, os.MkdirAll(folder, 0o700)
}
