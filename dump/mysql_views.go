package dump

import (
	"context"
	"errors"
	"fmt"
	"regexp"

	"github.com/go-sql-driver/mysql"
)

// myViews are views that could not be made yet: dump programs write them in the order of their names, and one WITH CHECK OPTION
// needs those that it selects from.
type myViews []myView

type myView struct {
	stmt, charset, collation string
	err                      error // why not
}

var createView = regexp.MustCompile(`(?i)^(?:/\*!\d{5} )?CREATE [^;]{0,400}\bVIEW\b`)

// later keeps a statement that failed, if it makes a view. err is the fault that is left.
func (v *myViews) later(ctx context.Context, c *myConn, stmt string, err error) error {
	var refused *mysql.MySQLError
	if !createView.MatchString(stmt[:min(len(stmt), insertHead)]) || !errors.As(err, &refused) {
		return err
	}
	view := myView{stmt: stmt, err: err}
	if e := c.QueryRowContext(ctx, "SELECT @@character_set_client, @@collation_connection").Scan(&view.charset, &view.collation); e != nil {
		return errors.Join(err, e)
	}
	*v = append(*v, view)
	return nil
}

// make makes them, one after the other, as long as some can be made. Those that cannot are an error, or kept by the guard.
func (v myViews) make(ctx context.Context, c *myConn, guard *myGuard) error {
	for len(v) > 0 {
		var left myViews
		for _, view := range v {
			_, err := c.ExecContext(ctx, view.setting())
			if err == nil {
				_, err = c.ExecContext(ctx, view.stmt)
			}
			if lacks(err) { // nor may we in the live database
				return view.fault(err)
			}
			if view.err = err; err != nil {
				left = append(left, view)
			}
		}
		if len(left) == len(v) && guard.patient {
			guard.late = left.script()
			return nil
		}
		if len(left) == len(v) {
			return left[0].fault(left[0].err)
		}
		v = left
	}
	return nil
}

func (v myView) fault(err error) error {
	return fmt.Errorf("a view cannot be made (%.60q): %w", v.stmt, err)
}

func (v myView) setting() string {
	return "SET character_set_client = " + v.charset + ", collation_connection = " + v.collation
}

// script makes them.
func (v myViews) script() (script []byte) {
	for _, view := range v {
		script = fmt.Appendf(script, "\nDELIMITER ;\n%s;\n%s;\n", view.setting(), view.stmt)
	}
	return script
}
