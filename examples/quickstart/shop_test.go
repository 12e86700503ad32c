package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

var little = scale{customers: 50, products: 20, orders: 200, picture: 40}

func TestShop(t *testing.T) {
	path := filepath.Join(t.TempDir(), "shop.db")
	s, err := newShop(t.Context(), path, little)
	if err != nil {
		t.Fatal(err)
	}
	defer s.db.Close()
	if err := s.trade(t.Context(), 7); err != nil {
		t.Fatal(err)
	}
	if n, err := s.raisePrices(t.Context()); n != 2 || err != nil {
		t.Errorf("raised %d prices, %v", n, err)
	}
	got, err := verify(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	if got.Customers != 50 || got.Products != 20 || got.Orders != 207 || got.Items < 207 || got.Turnover <= 0 {
		t.Errorf("holds %+v", got)
	}
	var mode string
	if err := s.db.QueryRow("PRAGMA journal_mode").Scan(&mode); err != nil || mode != "wal" {
		t.Errorf("journal mode %q, %v", mode, err)
	}
}

// TestKeepOpen has the writer beside a reader that sees whole sales only.
func TestKeepOpen(t *testing.T) {
	path := filepath.Join(t.TempDir(), "shop.db")
	s, err := newShop(t.Context(), path, little)
	if err != nil {
		t.Fatal(err)
	}
	defer s.db.Close()
	closed := s.keepOpen(t.Context(), time.Millisecond)
	for {
		c, err := verify(t.Context(), path)
		if err != nil {
			t.Fatal(err)
		}
		if c.Orders >= 205 {
			break
		}
	}
	sold, err := closed()
	if err != nil {
		t.Fatal(err)
	}
	c, err := verify(t.Context(), path)
	if err != nil || c.Orders != int64(200+sold) {
		t.Errorf("%d orders after %d sold, %v", c.Orders, sold, err)
	}
}

func TestVerifyFindsFaults(t *testing.T) {
	for _, c := range []struct{ change, want string }{
		{`UPDATE orders SET total_cents = total_cents + 1 WHERE id = 3`, "1 orders do not add up"},
		{`PRAGMA foreign_keys = off; DELETE FROM orders WHERE id = 3`, "lines have no order"},
	} {
		path := filepath.Join(t.TempDir(), "shop.db")
		s, err := newShop(t.Context(), path, little)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := s.db.Exec(c.change); err != nil {
			t.Fatal(err)
		}
		s.db.Close()
		if _, err := verify(t.Context(), path); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", c.change, err)
		}
	}
	bad := filepath.Join(t.TempDir(), "bad.db")
	if err := os.WriteFile(bad, []byte(strings.Repeat("no database", 1000)), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := verify(t.Context(), bad); err == nil {
		t.Error("no error for a file that is no database")
	}
}

// TestOrdinarySize holds the README's "some tens of MB".
func TestOrdinarySize(t *testing.T) {
	if testing.Short() {
		t.Skip("takes seconds")
	}
	path := filepath.Join(t.TempDir(), "shop.db")
	start := time.Now()
	s, err := newShop(t.Context(), path, ordinary)
	if err != nil {
		t.Fatal(err)
	}
	s.db.Close()
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%d bytes in %s", info.Size(), time.Since(start))
	if mb := info.Size() / 1e6; mb < 30 || mb > 70 {
		t.Errorf("the shop takes %d MB", mb)
	}
}
