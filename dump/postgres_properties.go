package dump

import (
	"context"
	"fmt"
	"regexp"
	"slices"

	"github.com/caddy-backup/caddy-backup/backup"
)

// createStatement is how pg_dump writes down the properties of a database. Nothing but these words and quoted values is
// taken from it.
var createStatement = regexp.MustCompile(`^CREATE DATABASE (?:"(?:[^"]|"")+"|[^" ]+) WITH TEMPLATE = template0` +
	`((?: (?:ENCODING|LOCALE_PROVIDER|LOCALE|LC_COLLATE|LC_CTYPE|ICU_LOCALE|ICU_RULES|BUILTIN_LOCALE) = (?:'[^']*'|[a-z]+))+)`)

// databaseProperties are the encoding and the locale of the dumped database, as they stand in CREATE DATABASE; "" when
// they are not known: then the server's defaults are taken.
func databaseProperties(c archiveContents) string {
	m := createStatement.FindStringSubmatch(c.sql("DATABASE"))
	if m == nil {
		return ""
	}
	return m[1]
}

const (
	anyName    = `(?:"(?:[^"]|"")+"|[^\s";,]+)`
	anyLiteral = `(?:'(?:[^']|'')*'|E'(?:[^'\\]|''|\\.)*')`
	anySetting = ` SET ` + anyName + ` TO ` + anyLiteral + `(?:, ` + anyLiteral + `)*`
)

// propertyForms are what pg_dump writes about a database itself, but for how it is made: what is before its name, the
// name, and what is behind it.
var propertyForms = []*regexp.Regexp{
	regexp.MustCompile(`^(ALTER DATABASE )` + anyName + `( CONNECTION LIMIT = \d+| IS_TEMPLATE = true)$`),
	regexp.MustCompile(`(?s)^(ALTER DATABASE )` + anyName + `(` + anySetting + `)$`),
	regexp.MustCompile(`(?s)^(ALTER ROLE ` + anyName + ` IN DATABASE )` + anyName + `(` + anySetting + `)$`),
	regexp.MustCompile(`(?s)^(COMMENT ON DATABASE )` + anyName + `( IS ` + anyLiteral + `)$`),
	regexp.MustCompile(`^((?:GRANT|REVOKE) [A-Z, ]+ ON DATABASE )` + anyName + `( (?:TO|FROM) ` + anyName + `(?: WITH GRANT OPTION)?)$`),
}

// propertyKinds are the entries of an archive in which they stand.
var propertyKinds = []string{"COMMENT", "ACL", "DATABASE PROPERTIES"}

// renamed is a statement about the dumped database as one about another; "" when it is none that we know.
func renamed(statement, name string) string {
	for _, form := range propertyForms {
		if m := form.FindStringSubmatch(statement); m != nil {
			return m[1] + quoteName(name) + m[2]
		}
	}
	return ""
}

// bringBack gives the building what the dumped database had for itself: comment, limit of connections, who may connect,
// settings. It is for one of which nothing is there any more, and for copies. What cannot be set, since a role is gone or
// only a superuser may, is told of: the rows are worth more than that.
func (b *building) bringBack(ctx context.Context, c archiveContents, t *backup.Task) error {
	for _, kind := range propertyKinds {
		statements, err := splitStatements(c.sql(kind))
		if err != nil {
			return err
		}
		for _, s := range slices.DeleteFunc(statements, func(s string) bool { return sessionUser.MatchString(s) }) {
			sql := renamed(s, b.name)
			err := fmt.Errorf("it is nothing that pg_dump writes about a database")
			if sql != "" {
				err = b.conn.Exec(ctx, sql).Close()
			}
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			if err != nil {
				t.Log.Warn(fmt.Sprintf("what the dump says about database %s itself is not brought back: %.100s", b.db.name, s), "error", err)
			}
		}
	}
	return nil
}

// sessionUser is written around what somebody else had granted.
var sessionUser = regexp.MustCompile(`^(?:SET|RESET) SESSION AUTHORIZATION`)
