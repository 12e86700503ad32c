package dump

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"path/filepath"
	"slices"
	"strings"

	"github.com/caddy-backup/caddy-backup/backup"
)

// nativeSource is what every database's own source can do.
type nativeSource interface {
	backup.Overwriter
	backup.Driller
	backup.Verifier
}

// source is the one for the database that the project uses, set up as the project says.
func (d *Django) source(p djangoProject) (nativeSource, error) {
	if len(p.Problems) > 0 {
		return nil, fmt.Errorf("%s: %s", d.Manage, p.Problems[0])
	}
	switch p.Vendor {
	case "sqlite":
		path := p.Database.Name
		if path == "" || path == ":memory:" || len(path) > 5 && path[:5] == "file:" {
			return nil, fmt.Errorf("database %s of %s is no file but %q: the engine native cannot dump it", d.alias(), d.Manage, path)
		}
		if !filepath.IsAbs(path) {
			path = filepath.Join(filepath.Dir(d.Manage), path)
		}
		return &SQLite{Path: path, path: filepath.Clean(path)}, nil
	case "postgresql":
		dsn, err := p.Database.postgres()
		return &Postgres{dsn: dsn}, err
	case "mysql":
		dsn, err := p.Database.mysql()
		return &MySQL{dsn: dsn}, err
	}
	return nil, fmt.Errorf("database %s of %s is of %s: only PostgreSQL, MariaDB, MySQL and SQLite have a dump of their own here; use dumpdata",
		d.alias(), d.Manage, p.Vendor)
}

// inner asks the project which source dumps its database.
func (d *Django) inner(ctx context.Context, t *backup.Task) (nativeSource, error) {
	project, err := d.project(ctx, t)
	if err != nil {
		return nil, err
	}
	return d.source(project)
}

// postgres is the connection string for what Django hands to psycopg.
func (db djangoDatabase) postgres() (string, error) {
	words := map[string]string{}
	for word, value := range map[string]any{"dbname": db.Name, "user": db.User, "password": db.Password, "host": db.Host, "port": db.Port} {
		if text := fmt.Sprint(value); value != nil && text != "" {
			words[word] = text
		}
	}
	for word, value := range db.Options {
		switch value.(type) {
		case string, float64, bool:
			if slices.Contains(sharedWords, word) || slices.Contains(programWords, word) {
				words[word] = fmt.Sprint(value)
			}
		}
	}
	dsn := joinKeywords(words)
	_, err := parseDSN(dsn)
	return dsn, err
}

// mysql is the address for what Django hands to mysqlclient.
func (db djangoDatabase) mysql() (string, error) {
	u := url.URL{Scheme: "mysql", User: url.UserPassword(db.User, db.Password), Path: "/" + db.Name}
	query := url.Values{}
	host := db.Host
	if len(host) > 0 && host[0] == '/' {
		query.Set("socket", host)
		host = ""
	}
	switch port := fmt.Sprint(db.Port); {
	case host != "" && db.Port != nil && port != "":
		u.Host = net.JoinHostPort(host, port)
	case strings.Contains(host, ":"):
		u.Host = "[" + host + "]"
	default:
		u.Host = host
	}
	if file, ok := db.Options["read_default_file"]; ok {
		return "", fmt.Errorf("DATABASES takes its settings from the option file %v, which is not read here: use a source mysql", file)
	}
	if db.User == "" {
		return "", errors.New("DATABASES names no USER")
	}
	text := func(value any) string { s, _ := value.(string); return s }
	if socket := text(db.Options["unix_socket"]); socket != "" {
		query.Set("socket", socket)
	}
	if mode := text(db.Options["ssl_mode"]); mode != "" {
		query.Set("ssl_mode", mode)
	}
	if tls, ok := db.Options["ssl"].(map[string]any); ok {
		for _, word := range []string{"ca", "cert", "key"} {
			if path := text(tls[word]); path != "" {
				query.Set("ssl_"+word, path)
			}
		}
	}
	u.RawQuery = query.Encode()
	_, err := parseMyDSN(u.String())
	return u.String(), err
}

var (
	_ nativeSource = (*SQLite)(nil)
	_ nativeSource = (*Postgres)(nil)
	_ nativeSource = (*MySQL)(nil)
)
