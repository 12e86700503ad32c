package main

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
)

// contents is what a copy of the shop holds.
type contents struct {
	Customers, Products, Orders, Items int64
	Turnover                           int64 // sum of all orders, cents
}

// verify reads the shop in the file at path, which nobody else uses, to its end. A copy taken in the middle of a sale
// would show here: a page that is damaged, a line without its order, an order whose total is not the sum of its lines.
func verify(ctx context.Context, path string) (contents, error) {
	var c contents
	db, err := openDB(path)
	if err != nil {
		return c, err
	}
	defer db.Close()
	var integrity string
	if err := db.QueryRowContext(ctx, `PRAGMA integrity_check`).Scan(&integrity); err != nil {
		return c, err
	}
	if integrity != "ok" {
		return c, fmt.Errorf("%s: SQLite finds it damaged: %s", path, integrity)
	}
	row := db.QueryRowContext(ctx, `SELECT (SELECT count(*) FROM customers), (SELECT count(*) FROM products),
		(SELECT count(*) FROM orders), (SELECT count(*) FROM order_items), (SELECT sum(total_cents) FROM orders)`)
	if err := row.Scan(&c.Customers, &c.Products, &c.Orders, &c.Items, &c.Turnover); err != nil {
		return c, err
	}
	return c, errors.Join(
		none(ctx, db, "orders do not add up", `SELECT count(*) FROM orders AS o WHERE total_cents <>
			(SELECT coalesce(sum(quantity * price_cents), 0) FROM order_items WHERE order_id = o.id)`),
		none(ctx, db, "lines have no order", `SELECT count(*) FROM order_items WHERE order_id NOT IN (SELECT id FROM orders)`),
	)
}

// none fails unless the query counts 0.
func none(ctx context.Context, db *sql.DB, what, query string) error {
	var n int
	err := db.QueryRowContext(ctx, query).Scan(&n)
	if err == nil && n > 0 {
		err = fmt.Errorf("%d %s", n, what)
	}
	return err
}

// digest is the SHA-256 of a file, in hex.
func digest(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return "", err
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}
