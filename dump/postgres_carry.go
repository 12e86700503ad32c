package dump

import (
	"context"
	"fmt"
	"regexp"

	"github.com/caddy-backup/caddy-backup/backup"
)

// carryOver gives the building what belongs to the live database itself and stands in no dump of it: its comment, its
// limit of connections, whether it is a template, who may connect, and settings.
func (b *building) carryOver(ctx context.Context, t *backup.Task) error {
	statements, err := b.rows(ctx, `
		SELECT format('COMMENT ON DATABASE %I IS %L', $2::text, shobj_description(oid, 'pg_database'))
			FROM pg_catalog.pg_database WHERE datname = $1 AND shobj_description(oid, 'pg_database') IS NOT NULL
		UNION ALL SELECT format('ALTER DATABASE %I CONNECTION LIMIT %s', $2::text, datconnlimit)
			FROM pg_catalog.pg_database WHERE datname = $1 AND datconnlimit >= 0
		UNION ALL SELECT format('ALTER DATABASE %I IS_TEMPLATE true', $2::text)
			FROM pg_catalog.pg_database WHERE datname = $1 AND datistemplate
		UNION ALL SELECT format('REVOKE ALL ON DATABASE %I FROM PUBLIC', $2::text)
			FROM pg_catalog.pg_database WHERE datname = $1 AND datacl IS NOT NULL
		UNION ALL SELECT format('GRANT %s ON DATABASE %I TO %s%s', a.privilege_type, $2::text,
				CASE a.grantee WHEN 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(a.grantee)) END,
				CASE WHEN a.is_grantable THEN ' WITH GRANT OPTION' ELSE '' END)
			FROM pg_catalog.pg_database d, aclexplode(d.datacl) a WHERE datname = $1`, b.db.name, b.name)
	if err != nil {
		return err
	}
	for _, s := range statements {
		if err := b.conn.Exec(ctx, string(s[0])).Close(); err != nil {
			return err
		}
	}
	return b.carrySettings(ctx, t)
}

var settingName = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_$]*(\.[A-Za-z_][A-Za-z0-9_$]*)*$`)

// carrySettings is for ALTER DATABASE … SET and ALTER ROLE … IN DATABASE … SET. What only a superuser may set is told of.
func (b *building) carrySettings(ctx context.Context, t *backup.Task) error {
	settings, err := b.rows(ctx, `SELECT CASE setrole WHEN 0 THEN format('ALTER DATABASE %I', $2::text)
			ELSE format('ALTER ROLE %I IN DATABASE %I', pg_get_userbyid(setrole), $2::text) END,
			split_part(setting, '=', 1), substr(setting, strpos(setting, '=') + 1)
		FROM pg_catalog.pg_db_role_setting s JOIN pg_catalog.pg_database d ON d.oid = s.setdatabase, unnest(setconfig) AS setting
		WHERE datname = $1`, b.db.name, b.name)
	if err != nil {
		return err
	}
	for _, s := range settings {
		alter, name, value := string(s[0]), string(s[1]), quoteString(string(s[2]))
		err := fmt.Errorf("a setting without a name")
		if settingName.MatchString(name) {
			// The server writes the value down as it has it: lists, quotes and units are none of our business. Sent at once both are
			// one transaction, and our own connection has the setting, which may forbid it to write, no longer than that.
			err = b.conn.Exec(ctx, "SELECT set_config("+quoteString(name)+", "+value+", true); "+alter+" SET "+name+" FROM CURRENT").Close()
			if err != nil && ctx.Err() == nil { // such as a role, or what a session can only begin with
				err = b.conn.Exec(ctx, alter+" SET "+name+" TO "+value).Close()
			}
		}
		if err != nil {
			t.Log.Warn(fmt.Sprintf("setting %s of database %s is not carried over: set it anew (%s SET …)", name, b.db.name, alter), "error", err)
		}
	}
	return nil
}

// rows asks the maintenance connection.
func (b *building) rows(ctx context.Context, sql string, args ...string) ([][][]byte, error) {
	values := make([][]byte, len(args))
	for i, arg := range args {
		values[i] = []byte(arg)
	}
	result := b.conn.ExecParams(ctx, sql, values, nil, nil, nil).Read()
	return result.Rows, result.Err
}
