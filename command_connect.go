package caddybackup

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"
	caddycmd "github.com/caddyserver/caddy/v2/cmd"

	"github.com/caddy-backup/caddy-backup/handler"
)

// dialTimeout tells a server that is not there from one that takes its time.
const dialTimeout = 5 * time.Second

// connect makes a client, of the running server or of a Service in this process. done ends what it started.
func connect(flags caddycmd.Flags) (client *handler.Client, done func(), err error) {
	config, adapter := flags.String("config"), flags.String("adapter")
	if flags.Bool("standalone") {
		return startStandalone(config, adapter)
	}
	address, err := adminAddress(flags.String("address"), config, adapter)
	if err != nil {
		return nil, nil, fmt.Errorf("finding the address of the admin endpoint: %w", err)
	}
	client, err = adminClient(address)
	return client, func() {}, err
}

// adminAddress is where the running server is to be asked. A configuration without admin endpoint names no place: at the usual one
// another server might answer.
func adminAddress(address, file, adapter string) (string, error) {
	if address != "" || file == "" {
		return caddycmd.DetermineAdminAPIAddress(address, nil, file, adapter)
	}
	raw, _, _, err := caddycmd.LoadConfig(file, adapter)
	if err != nil {
		return "", err
	}
	var config struct {
		Admin caddy.AdminConfig `json:"admin"`
	}
	if err := json.Unmarshal(caddy.RemoveMetaFields(raw), &config); err == nil && config.Admin.Disabled {
		return "", fmt.Errorf("%s switches it off: do without it (--standalone)", file)
	}
	return caddycmd.DetermineAdminAPIAddress("", raw, file, adapter)
}

// adminClient talks to the admin endpoint at a network address as it stands in configurations.
func adminClient(address string) (*handler.Client, error) {
	address, err := caddy.NewReplacer().ReplaceOrErr(address, true, true)
	if err != nil {
		return nil, fmt.Errorf("admin address: %w", err)
	}
	at, err := caddy.ParseNetworkAddress(address)
	if err != nil || at.PortRangeSize() > 1 {
		return nil, fmt.Errorf("bad admin address %q: write it as in localhost:2019 or unix//run/caddy/admin.sock", address)
	}
	host := at.JoinHostPort(0)
	t := &adminTransport{origin: "http://" + host, address: address}
	if at.IsUnixNetwork() {
		at.Host, _, _ = strings.Cut(at.Host, "|") // the permission bits of the socket
		host = at.Host
		t.origin = "" // Caddy checks none on sockets
	}
	t.RoundTripper = &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			d := net.Dialer{Timeout: dialTimeout}
			return d.DialContext(ctx, at.Network, host)
		},
		DisableKeepAlives: true, // a reload of the server resets the connections of its admin endpoint
	}
	base := t.origin
	if base == "" {
		base = "http://127.0.0.1"
	}
	return &handler.Client{Base: base + adminMount, HTTP: &http.Client{Transport: t}}, nil
}

// adminTransport adds what the admin endpoint wants to see, and explains why nobody answers.
type adminTransport struct {
	http.RoundTripper
	origin  string
	address string // as the user knows it
}

func (t *adminTransport) RoundTrip(r *http.Request) (*http.Response, error) {
	r = r.Clone(r.Context())
	r.Header.Set("User-Agent", commandLineAgent)
	if t.origin != "" {
		r.Header.Set("Origin", t.origin)
	}
	resp, err := t.RoundTripper.RoundTrip(r)
	var dial *net.OpError
	if !errors.As(err, &dial) || dial.Op != "dial" {
		return resp, err
	}
	if errors.Is(err, fs.ErrPermission) {
		return nil, fmt.Errorf("may not open the admin endpoint at %s (%w): run this as the user that Caddy runs as",
			t.address, dial.Err)
	}
	return nil, fmt.Errorf("no server answers at %s (%w): start it with caddy run, say where its admin endpoint is "+
		"(--address, or --config), or do without it (--standalone)", t.address, dial.Err)
}

// startStandalone runs a Caddy in this process that has nothing but the jobs and repositories of the configuration, its
// storage and its logs: no admin endpoint, no site.
func startStandalone(file, adapter string) (client *handler.Client, done func(), err error) {
	raw, _, _, err := caddycmd.LoadConfig(file, adapter)
	if err != nil {
		return nil, nil, err
	}
	if raw == nil {
		return nil, nil, errors.New("--standalone needs the configuration: name it with --config, or go to the folder of the Caddyfile")
	}
	config, err := standaloneConfig(raw)
	if err != nil {
		return nil, nil, err
	}
	if err := caddy.Run(config); err != nil {
		return nil, nil, err
	}
	done = func() {
		if err := caddy.Stop(); err != nil {
			caddy.Log().Error("stopping: " + err.Error())
		}
	}
	api := &handler.API{Service: activeService, Unlimited: true, Keeper: activeKeeper, Caller: func(*http.Request) handler.Caller {
		return handler.Caller{Name: "command line", Role: handler.Root}
	}}
	client = &handler.Client{Base: "http://standalone/", HTTP: &http.Client{Transport: handler.InProcess(api)}}
	return client, done, nil
}

func standaloneConfig(raw []byte) (*caddy.Config, error) {
	var whole caddy.Config
	if err := json.Unmarshal(caddy.RemoveMetaFields(raw), &whole); err != nil {
		return nil, fmt.Errorf("reading the configuration: %w", err)
	}
	app, ok := whole.AppsRaw["backup"]
	if !ok {
		return nil, errors.New("the configuration has no backup: add the global option backup to the Caddyfile")
	}
	app, err := byHand(app)
	if err != nil {
		return nil, fmt.Errorf("reading the configuration of backup: %w", err)
	}
	persist := false
	return &caddy.Config{
		Admin:      &caddy.AdminConfig{Disabled: true, Config: &caddy.ConfigSettings{Persist: &persist}},
		Logging:    quietly(whole.Logging),
		StorageRaw: whole.StorageRaw,
		AppsRaw:    caddy.ModuleMap{"backup": app},
	}, nil
}

// byHand keeps what runs by itself to the server.
func byHand(app json.RawMessage) (json.RawMessage, error) {
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(app, &fields); err != nil {
		return nil, err
	}
	if fields == nil {
		fields = map[string]json.RawMessage{}
	}
	fields["by_hand"] = json.RawMessage("true")
	return json.Marshal(fields)
}

// quietly keeps the log off the terminal unless the user configured one: what matters stands in the run's own log.
func quietly(l *caddy.Logging) *caddy.Logging {
	if l == nil {
		l = new(caddy.Logging)
	}
	if l.Logs[caddy.DefaultLoggerName] == nil {
		if l.Logs == nil {
			l.Logs = make(map[string]*caddy.CustomLog)
		}
		l.Logs[caddy.DefaultLoggerName] = &caddy.CustomLog{BaseLog: caddy.BaseLog{Level: "ERROR"}}
	}
	return l
}
