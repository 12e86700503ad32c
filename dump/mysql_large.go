package dump

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"

	"github.com/go-sql-driver/mysql"

	"github.com/caddy-backup/caddy-backup/backup"
)

// packetSlack is what of max_allowed_packet is left to the protocol, in bytes.
const packetSlack = 64

// packet is how many bytes the server takes in a statement, and in a value beside it.
func (c *myConn) packet(ctx context.Context) (int, error) {
	text, err := c.value(ctx, "SELECT @@max_allowed_packet")
	if err != nil {
		return 0, err
	}
	n, err := strconv.Atoi(text)
	return n - packetSlack, err
}

// send runs a statement of a script. The server may take less at once than the one that was dumped gave, and dumps write binary
// values at double length: rows that are too large for a statement come in several, and large values of a row beside it.
func (c *myConn) send(ctx context.Context, stmt []byte, mode sqlMode, limit int) error {
	if len(stmt) <= limit {
		_, err := c.ExecContext(ctx, string(stmt))
		return err
	}
	rows, ok := openInsert(stmt, mode)
	if !ok {
		_, err := c.ExecContext(ctx, string(stmt))
		return err
	}
	var some []byte // rows that fit into a statement
	flush := func() (err error) {
		if len(some) > 0 {
			_, err = c.ExecContext(ctx, string(rows.head)+string(some))
			some = some[:0]
		}
		return err
	}
	values, err := make([][]byte, 0, 64), error(nil)
	for {
		from := rows.rest
		if values, err = rows.next(values); err != nil || len(values) == 0 {
			return errors.Join(err, flush())
		}
		row := bytes.TrimLeft(from[:len(from)-len(rows.rest)], ", \r\n\t")
		if len(rows.head)+len(some)+1+len(row) > limit {
			err = flush()
		}
		if err == nil && len(rows.head)+1+len(row) > limit {
			err = c.sendRow(ctx, rows, values, limit)
			row = nil
		}
		if err != nil {
			return err
		}
		if len(row) > 0 {
			some = append(append(some, " ,"[min(len(some), 1)]), row...)
		}
	}
}

// sendRow runs an INSERT of one row that is too large for a statement: its large values are parameters, and those that are too
// large even for that come from temporary tables.
func (c *myConn) sendRow(ctx context.Context, x *myInsert, values [][]byte, limit int) (err error) {
	query, separator := bytes.NewBuffer(bytes.Clone(x.head)), " ("
	var args []any
	var staged []string
	defer func() {
		for _, table := range staged {
			_, dropped := c.ExecContext(context.WithoutCancel(ctx), "DROP TEMPORARY TABLE "+table)
			err = errors.Join(err, dropped)
		}
	}()
	for _, literal := range values {
		query.WriteString(separator)
		separator = ","
		value, ok := myValue{}, false
		if len(literal) > limit/(2*len(values)) {
			value, ok = decodeMyValue(literal, x.mode)
		}
		switch {
		case !ok:
			query.Write(literal)
		case len(value.data) <= limit:
			query.WriteByte('?')
			args = append(args, value.arg())
		default:
			table := fmt.Sprintf("caddy_backup_restore_value_%d", len(staged))
			if err := c.stage(ctx, table, value); err != nil {
				return fmt.Errorf("table %s: %w", x.table, err)
			}
			staged = append(staged, table)
			query.WriteString("(SELECT v FROM " + table + ")")
		}
	}
	query.WriteByte(')')
	_, err = c.ExecContext(ctx, query.String(), args...)
	return err
}

// stage puts a value into a temporary table by the one way that knows no largest packet, LOAD DATA LOCAL. Nothing is said there
// about bytes that the server does not like: it is asked for a sum of what it has.
func (c *myConn) stage(ctx context.Context, table string, v myValue) error {
	column, charset := "longblob", "binary"
	if !v.binary {
		var err error
		if charset, err = c.value(ctx, "SELECT @@character_set_client"); err != nil {
			return err
		}
		column = "longtext CHARACTER SET " + charset
	}
	if _, err := c.ExecContext(ctx, "CREATE TEMPORARY TABLE "+table+" (v "+column+")"); err != nil {
		return err
	}
	name := "caddy-backup-" + rand.Text() // the server can ask for nothing else
	mysql.RegisterReaderHandler(name, func() io.Reader { return &loadReader{rest: v.data} })
	defer mysql.DeregisterReaderHandler(name)
	_, err := c.ExecContext(ctx, "LOAD DATA LOCAL INFILE 'Reader::"+name+"' INTO TABLE "+table+" CHARACTER SET "+charset+
		" FIELDS TERMINATED BY 0x09 ESCAPED BY 0x5c LINES TERMINATED BY 0x0a")
	var refused *mysql.MySQLError
	if errors.As(err, &refused) {
		err = fmt.Errorf("%w: a value of %d bytes is larger than the server takes: set max_allowed_packet of the server to %d at least, or its local_infile to on, and try again: %w",
			backup.ErrInvalid, len(v.data), roundPacket(len(v.data)), err)
	}
	if err == nil {
		var sum string
		if sum, err = c.value(ctx, "SELECT sha1(v) FROM "+table); err == nil && sum != v.sum() {
			err = fmt.Errorf("a value of %d bytes arrived at the server otherwise than it was sent; set max_allowed_packet of the server to %d at least", len(v.data), roundPacket(len(v.data)))
		}
	}
	if err != nil {
		_, dropped := c.ExecContext(context.WithoutCancel(ctx), "DROP TEMPORARY TABLE IF EXISTS "+table)
		return errors.Join(err, dropped)
	}
	return nil
}

// roundPacket is a value of max_allowed_packet that lets so many bytes through: whole MiB.
func roundPacket(n int) int { return (n + packetSlack + 1<<20 - 1) >> 20 << 20 }

// oversized collects the tables with values that the server would not take back as it is set.
type oversized struct {
	limit  int  // bytes that it takes
	larger bool // it takes larger ones too
	most   int  // bytes of the largest value
	tables map[string]bool
}

func (c *myConn) oversized(ctx context.Context) (*oversized, error) {
	limit, err := c.packet(ctx)
	if err != nil {
		return nil, err
	}
	local, err := c.value(ctx, "SELECT @@local_infile")
	return &oversized{limit: limit, larger: local == "1", tables: map[string]bool{}}, err
}

// look looks for such values in a statement.
func (o *oversized) look(stmt []byte, mode sqlMode) {
	if len(stmt) <= o.limit || o.larger {
		return
	}
	x, ok := openInsert(stmt, mode)
	if !ok {
		return
	}
	var values [][]byte
	for err := error(nil); ; {
		if values, err = x.next(values); err != nil || len(values) == 0 {
			return
		}
		for _, literal := range values {
			if n := literalSize(literal); n > o.limit {
				o.tables[x.table], o.most = true, max(o.most, n)
			}
		}
	}
}

// note says what to do before a restore; "" when there is no such value.
func (o *oversized) note() string {
	if len(o.tables) == 0 {
		return ""
	}
	return fmt.Sprintf("tables with values of up to %d bytes, which the server would not take back as it is set: %s; before a restore set its "+
		"max_allowed_packet to %d at least, or its local_infile to on", o.most, summed(slices.Sorted(maps.Keys(o.tables))), roundPacket(o.most))
}
