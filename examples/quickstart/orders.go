package main

import (
	"context"
	"database/sql"
	"fmt"
	"math/rand/v2"
	"time"
)

// till adds orders within one transaction. Its statements are prepared once.
type till struct {
	price, order, item, total, stock *sql.Stmt
	customers, products              int
}

func newTill(ctx context.Context, tx *sql.Tx) (*till, error) {
	t := &till{}
	for _, p := range []struct {
		stmt **sql.Stmt
		text string
	}{
		{&t.price, `SELECT price_cents FROM products WHERE id = ?`},
		{&t.order, `INSERT INTO orders (customer_id, placed, status, total_cents) VALUES (?, ?, ?, 0)`},
		{&t.item, `INSERT INTO order_items (order_id, line, product_id, quantity, price_cents) VALUES (?, ?, ?, ?, ?)`},
		{&t.total, `UPDATE orders SET total_cents = ? WHERE id = ?`},
		{&t.stock, `UPDATE products SET stock = stock - ? WHERE id = ?`},
	} {
		stmt, err := tx.PrepareContext(ctx, p.text)
		if err != nil {
			return nil, err
		}
		*p.stmt = stmt
	}
	row := tx.QueryRowContext(ctx, `SELECT (SELECT count(*) FROM customers), (SELECT count(*) FROM products)`)
	return t, row.Scan(&t.customers, &t.products)
}

// sell places one order of one to five lines. The order's total is the sum of its lines: what verify asks of a copy.
func (t *till) sell(ctx context.Context, rng *rand.Rand, placed time.Time, status string) error {
	res, err := t.order.ExecContext(ctx, 1+rng.IntN(t.customers), placed.Format(time.DateTime), status)
	if err != nil {
		return err
	}
	order, err := res.LastInsertId()
	if err != nil {
		return err
	}
	total := 0
	for line := range 1 + rng.IntN(5) {
		product, quantity, price := 1+rng.IntN(t.products), 1+rng.IntN(3), 0
		if err := t.price.QueryRowContext(ctx, product).Scan(&price); err != nil {
			return err
		}
		if _, err := t.item.ExecContext(ctx, order, line+1, product, quantity, price); err != nil {
			return err
		}
		total += quantity * price
	}
	_, err = t.total.ExecContext(ctx, total, order)
	return err
}

// addOrders fills the past with orders.
func (s *shop) addOrders(ctx context.Context, tx *sql.Tx, n int) error {
	t, err := newTill(ctx, tx)
	if err != nil {
		return err
	}
	step := time.Since(s.now) / time.Duration(n+1)
	for range n {
		s.now = s.now.Add(step)
		if err := t.sell(ctx, s.rng, s.now, "shipped"); err != nil {
			return err
		}
	}
	return nil
}

// trade places orders in one transaction, as of now, and takes what they need from the stock of a few products.
func (s *shop) trade(ctx context.Context, orders int) error {
	return s.write(ctx, func(tx *sql.Tx) error {
		t, err := newTill(ctx, tx)
		if err != nil {
			return err
		}
		for range orders {
			if err := t.sell(ctx, s.rng, time.Now().UTC(), "paid"); err != nil {
				return err
			}
			if _, err := t.stock.ExecContext(ctx, 1, 1+s.rng.IntN(t.products)); err != nil {
				return err
			}
		}
		return nil
	})
}

// raisePrices makes one product in ten dearer and says how many.
func (s *shop) raisePrices(ctx context.Context) (int64, error) {
	res, err := s.db.ExecContext(ctx, `UPDATE products SET price_cents = price_cents + price_cents / 20 + 1 WHERE id % 10 = 0`)
	if err != nil {
		return 0, err
	}
	return res.RowsAffected()
}

// keepOpen goes on selling, an order at a time, until ctx ends: every backup is taken while somebody writes. The func
// that it returns waits for the end and says how many orders were placed.
func (s *shop) keepOpen(ctx context.Context, pause time.Duration) (closed func() (int, error)) {
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan error, 1)
	sold := 0
	go func() {
		done <- func() error {
			tick := time.NewTicker(pause)
			defer tick.Stop()
			for {
				if err := s.trade(ctx, 1); ctx.Err() != nil {
					return nil
				} else if err != nil {
					return fmt.Errorf("placing an order: %w", err)
				}
				sold++
				select {
				case <-ctx.Done():
					return nil
				case <-tick.C:
				}
			}
		}()
	}()
	return func() (int, error) {
		cancel()
		err := <-done
		return sold, err
	}
}
