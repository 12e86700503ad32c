package dump

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/go-sql-driver/mysql"

	"github.com/caddy-backup/caddy-backup/backup"
)

// ourPrefix begins the names of all databases that we make for the time being.
const ourPrefix = "caddy_backup_"

// administratorRuns stands before what somebody with more rights than ours is to type.
const administratorRuns = "let an administrator of the server run: "

// self is our user as a GRANT names him.
func (c *myConn) self(ctx context.Context) string {
	user, err := c.value(ctx, "SELECT CURRENT_USER()")
	if err != nil || !strings.Contains(user, "@") {
		return "this user"
	}
	return quoteMyUser(user)
}

// quoteMyUser quotes a user as the server names him, such as shop@%, or a role, which has no host.
func quoteMyUser(name string) string {
	quoted := func(s string) string { return "'" + strings.ReplaceAll(s, "'", "''") + "'" }
	if at := strings.LastIndexByte(name, '@'); at >= 0 && at < len(name)-1 {
		return quoted(name[:at]) + "@" + quoted(name[at+1:])
	}
	return quoted(strings.TrimSuffix(name, "@"))
}

// grant is what an administrator types to let the user make a database: all of them, where their names are ours to choose.
func (c *myConn) grant(ctx context.Context, place string) string {
	pattern, any := place, ""
	if strings.HasPrefix(place, ourPrefix) {
		pattern, any = ourPrefix, "%"
	} else if at := strings.LastIndex(place, backup.RestoredInfix); at > 0 {
		pattern, any = place[:at+len(backup.RestoredInfix)], "%"
	}
	pattern = strings.NewReplacer("_", `\_`, "%", `\%`, "`", "``").Replace(pattern)
	return fmt.Sprintf("%sGRANT ALL ON `%s%s`.* TO %s", administratorRuns, pattern, any, c.self(ctx))
}

// lacks reports whether a statement failed since the user lacks a right, such as that to make what belongs to others.
func lacks(err error) bool {
	var refused *mysql.MySQLError
	return errors.As(err, &refused) && refused.Number == 1227 // ER_SPECIFIC_ACCESS_DENIED_ERROR
}

// withRight adds to such an error what an administrator types.
func (c *myConn) withRight(ctx context.Context, err error) error {
	if !lacks(err) {
		return err
	}
	return fmt.Errorf("%w; views, triggers, routines or events belong to other users: %sGRANT SET USER ON *.* TO %s (SUPER for MariaDB before 10.5, "+
		"SET_USER_ID for MySQL)", err, administratorRuns, c.self(ctx))
}

// definable tries whether the user may make anew what others defined in a database, without which there is no way back from a
// restore over it. probe is a database of ours.
func (c *myConn) definable(ctx context.Context, database, probe string) error {
	definers, err := c.list(ctx, "SELECT DISTINCT definer FROM "+myDefined+" WHERE definer NOT IN ('', CURRENT_USER())", database, database, database, database)
	if err != nil {
		return fmt.Errorf("looking who defined views, triggers, routines and events of database %s: %w", database, err)
	}
	for _, definer := range definers {
		_, err := c.ExecContext(ctx, "CREATE OR REPLACE DEFINER="+quoteMyUser(definer)+" SQL SECURITY INVOKER VIEW "+quoteMyName(probe)+".probe AS SELECT 1")
		if lacks(err) {
			return fmt.Errorf("what %s defined in database %s could not be made anew: %w", definer, database, c.withRight(ctx, err))
		}
	}
	return nil
}

// examineScratch notes what keeps backups from being tried out, or restored over the live database: no fault of the next dump. Roles may
// give rights that are not listed, so it is no more than a note.
func (c *myConn) examineScratch(ctx context.Context, database string) []backup.Diagnosis {
	grantees, err := c.grantees(ctx)
	if err != nil {
		return failing(err)
	}
	in := "grantee IN (" + strings.TrimSuffix(strings.Repeat("?, ", len(grantees)), ", ") + ")"
	may, err := c.list(ctx, "SELECT 1 FROM information_schema.user_privileges WHERE privilege_type = 'CREATE' AND "+in+
		" UNION SELECT 1 FROM information_schema.schema_privileges WHERE privilege_type = 'CREATE' AND '"+besidePrefix+"' LIKE table_schema AND "+in,
		append(grantees, grantees...)...)
	if err != nil {
		return failing(err)
	}
	if len(may) == 0 {
		return []backup.Diagnosis{diagnosis(backup.LevelNote, "drills, and restores over database %s, need a database beside it: %s", database, c.grant(ctx, ourPrefix))}
	}
	return nil
}
