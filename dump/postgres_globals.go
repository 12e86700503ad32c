package dump

import (
	"context"
	"fmt"
	"io"

	"github.com/caddy-backup/caddy-backup/backup"
)

// dumpGlobals runs pg_dumpall for roles and tablespaces. Only a superuser may read the roles' passwords.
func (p *Postgres) dumpGlobals(ctx context.Context, db *pgDatabase, w io.Writer, t *backup.Task) (backup.Facts, error) {
	conn, database, err := db.connectAny(ctx)
	if err != nil {
		return backup.Facts{}, err
	}
	superuser := conn.ParameterStatus("is_superuser") == "on"
	server, err := parsePgVersion(conn.ParameterStatus("server_version"))
	closePg(conn)
	if err != nil {
		return backup.Facts{}, err
	}
	tools, password, err := p.means(ctx, db, server)
	if err != nil {
		return backup.Facts{}, err
	}
	defer password.Close()
	program := tools.beside("pg_dumpall")
	args := append([]string{"--globals-only", "--no-password"}, restrictArgs(ctx, program, db)...)
	facts := backup.Facts{
		Engine:  "PostgreSQL " + server.text,
		Tool:    "pg_dumpall " + tools.version.text,
		Source:  "roles and tablespaces of " + db.place,
		Checked: "script of pg_dumpall with its last line",
	}
	if !superuser {
		args = append(args, "--no-role-passwords")
		facts.Notes = []string{fmt.Sprintf("roles are without their passwords: only a superuser may read these, and %s is none", db.conf.User)}
	}
	args = append(args, "--database="+database, "--dbname="+db.conninfo(database))
	if err := dumpScript(ctx, t, db.program(program, password, args...), w, newScriptWatch(scriptMarks[1].end)); err != nil {
		return backup.Facts{}, fmt.Errorf("dump of the roles and tablespaces of %s: %w", db.place, err)
	}
	return facts, nil
}
