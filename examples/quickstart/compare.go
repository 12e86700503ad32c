package main

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"fmt"
	"slices"
	"strings"
)

// lasting is what the shop never changes: rows of tables that only grow at their end, up to an order, and what of the
// others is not a price or the stock. Each query gives it sorted.
var lasting = []struct{ table, query string }{
	{"customers", `SELECT * FROM customers WHERE ? IS NOT NULL ORDER BY id`},
	{"products", `SELECT id, name, description FROM products WHERE ? IS NOT NULL ORDER BY id`},
	{"product_pictures", `SELECT * FROM product_pictures WHERE ? IS NOT NULL ORDER BY product_id`},
	{"orders", `SELECT * FROM orders WHERE id <= ? ORDER BY id`},
	{"order_items", `SELECT * FROM order_items WHERE order_id <= ? ORDER BY order_id, line`},
}

// compare reads all tables of the living shop and of the restored one side by side, up to the restored one's last
// order, and names those that differ. Prices and stock are left out: those have changed since.
func compare(ctx context.Context, live, restored string) error {
	old, err := openDB(restored)
	if err != nil {
		return err
	}
	defer old.Close()
	now, err := openDB(live)
	if err != nil {
		return err
	}
	defer now.Close()
	var last int64
	if err := old.QueryRowContext(ctx, `SELECT max(id) FROM orders`).Scan(&last); err != nil {
		return err
	}
	var differ []string
	for _, g := range lasting {
		a, err := digestRows(ctx, old, g.query, last)
		if err != nil {
			return err
		}
		b, err := digestRows(ctx, now, g.query, last)
		if err != nil {
			return err
		}
		if !slices.Equal(a, b) {
			differ = append(differ, g.table)
		}
	}
	if len(differ) > 0 {
		return fmt.Errorf("the restored shop differs from the living one in: %s", strings.Join(differ, ", "))
	}
	return nil
}

// digestRows is the SHA-256 of all rows that a query gives, in its order.
func digestRows(ctx context.Context, db *sql.DB, query string, arg int64) ([]byte, error) {
	rows, err := db.QueryContext(ctx, query, arg)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	columns, err := rows.Columns()
	if err != nil {
		return nil, err
	}
	values, into := make([]any, len(columns)), make([]any, len(columns))
	for i := range values {
		into[i] = &values[i]
	}
	h := sha256.New()
	for rows.Next() {
		if err := rows.Scan(into...); err != nil {
			return nil, err
		}
		fmt.Fprintf(h, "%q\n", values)
	}
	return h.Sum(nil), rows.Err()
}
