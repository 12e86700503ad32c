package dump

import (
	"context"
	"net/url"
	"strings"

	"github.com/caddy-backup/caddy-backup/backup"
)

// Parts is one script; of all databases one for each, and one with the users.
func (m *MySQL) Parts(ctx context.Context, name string) ([]backup.Part, error) {
	if !m.All {
		return []backup.Part{{Name: name + ".sql"}}, nil
	}
	s, err := newMyServer(m.dsn)
	if err != nil {
		return nil, err
	}
	conn, err := s.connect(ctx, "")
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	databases, err := conn.databases(ctx)
	if err != nil {
		return nil, err
	}
	var parts []backup.Part
	for _, database := range databases {
		parts = append(parts, backup.Part{Name: name + "." + escapeName(database) + ".sql"})
	}
	server, err := conn.version(ctx)
	if err == nil && server.mariadb { // MySQL's program cannot dump them
		parts = append(parts, backup.Part{Name: name + "." + usersPart + ".sql"})
	}
	return parts, err
}

// usersPart is what no escaped name of a database is.
const usersPart = "users"

// escapeName makes the name of a database fit for a part's: without slashes and dots, and not usersPart.
func escapeName(database string) string {
	if database == usersPart {
		return "%75sers"
	}
	return strings.ReplaceAll(url.PathEscape(database), ".", "%2E")
}

// databaseOf is the database of a part; "" of the users.
func (m *MySQL) databaseOf(p backup.Part, s *myServer) string {
	if !m.All {
		return s.database
	}
	base := strings.TrimSuffix(p.Name, ".sql")
	escaped := base[strings.LastIndexByte(base, '.')+1:]
	if escaped == usersPart {
		return ""
	}
	database, _ := url.PathUnescape(escaped)
	return database
}
