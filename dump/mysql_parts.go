package dump

import (
	"context"
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/caddy-backup/caddy-backup/backup"
)

// Parts is one script of a database, named as those of Postgres are. Of all databases the server is asked.
func (m *MySQL) Parts(ctx context.Context, name string) (parts []backup.Part, err error) {
	if m.AllDatabases || m.Globals != nil && *m.Globals {
		if parts, err = m.serverParts(ctx, name); err != nil {
			return nil, err
		}
	}
	if !m.AllDatabases {
		parts = append(parts, backup.Part{Name: name + ".sql", Media: mediaSQL})
	}
	if !m.AllDatabases && strings.HasSuffix(parts[len(parts)-1].Name, globalsSuffix) {
		return nil, fmt.Errorf("%w: a source cannot be named %s: the name of its part would mean something else", backup.ErrInvalid, name)
	}
	return parts, nil
}

// serverParts are the users, and the databases when all are wanted.
func (m *MySQL) serverParts(ctx context.Context, name string) (parts []backup.Part, err error) {
	s, err := newMyServer(m.dsn)
	if err != nil {
		return nil, err
	}
	conn, server, err := s.session(ctx, "")
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	switch {
	case m.withUsers(server):
		parts = append(parts, backup.Part{Name: name + globalsSuffix, Media: mediaSQL})
	case m.Globals != nil && *m.Globals:
		return nil, errors.New("globals: the program of MySQL cannot dump users; take it out, and save them with a source command")
	}
	if !m.AllDatabases {
		return parts, nil
	}
	databases, err := conn.databases(ctx)
	if err != nil {
		return nil, fmt.Errorf("listing the databases on %s: %w", s.place(), err)
	}
	databases = slices.DeleteFunc(databases, m.excluded)
	if len(databases) == 0 {
		return nil, errors.New("no database is left: look at exclude_databases, and at the rights of the user")
	}
	for _, database := range databases {
		parts = append(parts, backup.Part{Name: name + "." + escapeName(database) + ".sql", Media: mediaSQL})
	}
	return parts, nil
}

// withUsers reports whether the users are dumped too.
func (m *MySQL) withUsers(server myVersion) bool {
	return server.mariadb && (m.AllDatabases && m.Globals == nil || m.Globals != nil && *m.Globals)
}

func (m *MySQL) excluded(name string) bool {
	return slices.ContainsFunc(m.ExcludeDatabases, func(pattern string) bool {
		ok, _ := path.Match(strings.ReplaceAll(pattern, "/", "\x00"), strings.ReplaceAll(name, "/", "\x00")) // no folder in a name
		return ok
	})
}

// databaseOf is the database of a part; "" of the users.
func (m *MySQL) databaseOf(p backup.Part, s *myServer) string {
	if strings.HasSuffix(p.Name, globalsSuffix) {
		return ""
	}
	if !m.AllDatabases {
		return s.database
	}
	_, database, _ := cutLast(strings.TrimSuffix(p.Name, ".sql"), ".")
	return unescapeName(database)
}
