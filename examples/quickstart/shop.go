package main

import (
	"context"
	"database/sql"
	"fmt"
	"math/rand/v2"
	"net/url"
	"time"

	_ "modernc.org/sqlite" // the driver "sqlite"
)

// shop is a small online shop's database: SQLite in WAL mode, as a web application keeps it.
type shop struct {
	db  *sql.DB
	rng *rand.Rand // seeded: every shop is the same. For one goroutine at a time
	now time.Time  // the shop's clock: when the next order is placed
}

// scale says how much is in a shop.
type scale struct {
	customers, products, orders int
	picture                     int // width and height of a product's picture in pixels
}

// ordinary is a shop of about 45 MB.
var ordinary = scale{customers: 12_000, products: 500, orders: 60_000, picture: 400}

const schema = `
CREATE TABLE customers (
	id INTEGER PRIMARY KEY, name TEXT NOT NULL, email TEXT NOT NULL UNIQUE, street TEXT NOT NULL,
	city TEXT NOT NULL, country TEXT NOT NULL, joined TEXT NOT NULL);
CREATE TABLE products (
	id INTEGER PRIMARY KEY, name TEXT NOT NULL, description TEXT NOT NULL,
	price_cents INTEGER NOT NULL CHECK (price_cents > 0), stock INTEGER NOT NULL);
CREATE TABLE product_pictures (
	product_id INTEGER PRIMARY KEY REFERENCES products, jpeg BLOB NOT NULL);
CREATE TABLE orders (
	id INTEGER PRIMARY KEY, customer_id INTEGER NOT NULL REFERENCES customers, placed TEXT NOT NULL,
	status TEXT NOT NULL, total_cents INTEGER NOT NULL);
CREATE TABLE order_items (
	order_id INTEGER NOT NULL REFERENCES orders, line INTEGER NOT NULL, product_id INTEGER NOT NULL REFERENCES products,
	quantity INTEGER NOT NULL, price_cents INTEGER NOT NULL, PRIMARY KEY (order_id, line)) WITHOUT ROWID;
`

// The indexes are made when the tables are full, as after an import or a VACUUM: each lies in one piece.
const indexes = `
CREATE INDEX customers_name ON customers (name);
CREATE INDEX orders_customer ON orders (customer_id);
CREATE INDEX orders_placed ON orders (placed);
CREATE INDEX order_items_product ON order_items (product_id);
`

// openDB opens an SQLite file. Writing transactions take their lock at the start, and wait for each other.
func openDB(path string) (*sql.DB, error) {
	u := url.URL{Scheme: "file", Path: path, RawQuery: url.Values{
		"_pragma": {"busy_timeout(10000)", "journal_mode(wal)", "synchronous(normal)", "foreign_keys(1)"},
		"_txlock": {"immediate"},
	}.Encode()}
	return sql.Open("sqlite", u.String())
}

// newShop makes the database at path, which must not exist, and fills it.
func newShop(ctx context.Context, path string, size scale) (*shop, error) {
	db, err := openDB(path)
	if err != nil {
		return nil, err
	}
	s := &shop{db: db, rng: rand.New(rand.NewPCG(7, 11)), now: time.Now().UTC().AddDate(-2, 0, 0).Truncate(time.Second)}
	if err := s.fill(ctx, size); err != nil {
		db.Close()
		return nil, fmt.Errorf("filling %s: %w", path, err)
	}
	return s, nil
}

func (s *shop) fill(ctx context.Context, size scale) error {
	if _, err := s.db.ExecContext(ctx, schema); err != nil {
		return err
	}
	err := s.write(ctx, func(tx *sql.Tx) error {
		if err := s.addCustomers(ctx, tx, size.customers); err != nil {
			return err
		}
		if err := s.addProducts(ctx, tx, size.products, size.picture); err != nil {
			return err
		}
		return s.addOrders(ctx, tx, size.orders)
	})
	if err != nil {
		return err
	}
	_, err = s.db.ExecContext(ctx, indexes+`PRAGMA wal_checkpoint(TRUNCATE)`) // an old shop's rows lie in its main file
	return err
}

// write runs f in one transaction.
func (s *shop) write(ctx context.Context, f func(*sql.Tx) error) error {
	tx, err := s.db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer tx.Rollback()
	if err := f(tx); err != nil {
		return err
	}
	return tx.Commit()
}

func (s *shop) addCustomers(ctx context.Context, tx *sql.Tx, n int) error {
	insert, err := tx.PrepareContext(ctx, `INSERT INTO customers (name, email, street, city, country, joined) VALUES (?,?,?,?,?,?)`)
	if err != nil {
		return err
	}
	for i := range n {
		p := place[s.rng.IntN(len(place))]
		first, last := pick(s.rng, p.first), pick(s.rng, p.last)
		joined := s.now.AddDate(0, 0, -s.rng.IntN(900)).Format(time.DateOnly)
		street := fmt.Sprintf("%s %d", pick(s.rng, p.streets), 1+s.rng.IntN(180))
		email := fmt.Sprintf("customer-%05d@example.com", i+1)
		if _, err := insert.ExecContext(ctx, first+" "+last, email, street, pick(s.rng, p.cities), p.country, joined); err != nil {
			return err
		}
	}
	return nil
}

func (s *shop) addProducts(ctx context.Context, tx *sql.Tx, n, pixels int) error {
	for id := range n {
		name := fmt.Sprintf("%s %s %s", pick(s.rng, materials), pick(s.rng, things), pick(s.rng, editions))
		price := 100*(3+s.rng.IntN(240)) - s.rng.IntN(2)
		if _, err := tx.ExecContext(ctx, `INSERT INTO products VALUES (?, ?, ?, ?, ?)`,
			id+1, name, describe(s.rng, name), price, 100_000+s.rng.IntN(9_000)); err != nil {
			return err
		}
	}
	for id := range n {
		picture, err := drawPicture(s.rng, pixels)
		if err != nil {
			return err
		}
		if _, err := tx.ExecContext(ctx, `INSERT INTO product_pictures VALUES (?, ?)`, id+1, picture); err != nil {
			return err
		}
	}
	return nil
}
