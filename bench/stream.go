package main

import (
	"bufio"
	"fmt"
	"io"
	"math/rand/v2"
	"strconv"
	"time"
)

// writeDump writes about size bytes of text as pg_dump gives it: the tables of a shop in COPY rows, always the same for
// the same size. zstd makes it about a quarter, as it does with real ones.
func writeDump(w io.Writer, size int64) error {
	d := &dump{w: bufio.NewWriterSize(w, 1<<20), rng: rand.New(rand.NewPCG(1, 2))}
	d.w.WriteString(head)
	d.table("customers", "id, email, name, city, phone, joined, newsletter", size*10/100, d.customer)
	d.table("orders", "id, customer_id, placed, status, total, reference, note", size*30/100, d.order)
	d.table("order_items", "id, order_id, product_id, quantity, price, discount", size*35/100, d.item)
	d.table("events", "id, at, kind, session, path, agent", size*25/100, d.event)
	d.w.WriteString(tail)
	return d.w.Flush() // which also tells of an error of an earlier write
}

// writeDayOf writes the dump of a day of a series: a table in parts of 256 KiB, of which one in fifty changes each day.
func writeDayOf(w io.Writer, size int64, day int) error {
	const part = 256 << 10
	d := &dump{w: bufio.NewWriterSize(w, 1<<20)}
	d.w.WriteString(head)
	for n := range uint64(max(1, size/part)) {
		changed := uint64(0) // the last day on which it did
		for e := range uint64(day) {
			if rand.New(rand.NewPCG(n, e)).IntN(50) == 0 {
				changed = e + 1
			}
		}
		d.rng = rand.New(rand.NewPCG(n, 1000+changed))
		d.table(fmt.Sprintf("orders_%d", n), "id, customer_id, placed, status, total, reference, note", part, d.order)
	}
	d.w.WriteString(tail)
	return d.w.Flush()
}

const (
	head = "--\n-- PostgreSQL database dump\n--\n\n-- Dumped from database version 15.18\n-- Dumped by pg_dump version 15.18\n\n" +
		"SET statement_timeout = 0;\nSET client_encoding = 'UTF8';\nSET standard_conforming_strings = on;\n\n"
	tail = "ALTER TABLE ONLY public.orders\n    ADD CONSTRAINT orders_pkey PRIMARY KEY (id);\n\n" +
		"--\n-- PostgreSQL database dump complete\n--\n\n"
)

// dump is a dump being written.
type dump struct {
	w   *bufio.Writer
	rng *rand.Rand
	id  int64     // of the row
	at  time.Time // of the row
	of  int64     // the order that the item belongs to
	row []byte
}

// table writes one table; its rows take size bytes.
func (d *dump) table(name, columns string, size int64, fill func()) {
	fmt.Fprintf(d.w, "COPY public.%s (%s) FROM stdin;\n", name, columns)
	d.at = time.Date(2024, 1, 2, 3, 4, 5, 0, time.UTC)
	for d.id = 1; size > 0; d.id++ {
		d.row = strconv.AppendInt(d.row[:0], d.id, 10)
		fill()
		d.row = append(d.row, '\n')
		d.w.Write(d.row)
		size -= int64(len(d.row))
	}
	d.w.WriteString("\\.\n\n\n")
}

func (d *dump) customer() {
	first, last := d.pick(firstNames), d.pick(lastNames)
	d.add(first, ".", last)
	d.row = strconv.AppendInt(d.row, d.rng.Int64N(9999), 10)
	d.row = append(d.row, "@example.com"...)
	d.add(first, " ", last)
	d.add(d.pick(cities))
	d.add("+33 6 ")
	d.row = strconv.AppendInt(d.row, 10_000_000+d.rng.Int64N(90_000_000), 10)
	d.time(3 * time.Minute)
	d.add(d.pick(yesNo))
}

func (d *dump) order() {
	d.number(d.rng.Int64N(400_000))
	d.time(40 * time.Second)
	d.add(d.pick(status))
	d.cents(500 + d.rng.Int64N(30_000))
	d.add("ORD-")
	d.row = strconv.AppendInt(d.row, 20_240_000_000+d.id*7, 10)
	if d.rng.IntN(4) == 0 {
		d.add(d.pick(notes), " ", d.pick(notes))
	} else {
		d.add(`\N`)
	}
}

func (d *dump) item() {
	if d.rng.IntN(3) == 0 {
		d.of++
	}
	d.number(d.of)
	d.number(d.rng.Int64N(2_000))
	d.number(1 + d.rng.Int64N(3))
	d.cents(199 + 100*d.rng.Int64N(120))
	d.add(d.pick(discounts))
}

func (d *dump) event() {
	d.time(2 * time.Second)
	d.add(d.pick(kinds))
	d.row = append(d.row, '\t')
	d.row = fmt.Appendf(d.row, "%016x", d.rng.Uint64())
	d.add("/products/")
	d.row = strconv.AppendInt(d.row, d.rng.Int64N(2_000), 10)
	d.add(d.pick(agents))
}

// add appends a column.
func (d *dump) add(text ...string) {
	d.row = append(d.row, '\t')
	for _, t := range text {
		d.row = append(d.row, t...)
	}
}

func (d *dump) number(n int64) {
	d.row = append(d.row, '\t')
	d.row = strconv.AppendInt(d.row, n, 10)
}

func (d *dump) cents(n int64) {
	d.number(n / 100)
	d.row = append(d.row, '.', byte('0'+n/10%10), byte('0'+n%10))
}

// time appends a column that goes forward by up to twice step from row to row.
func (d *dump) time(step time.Duration) {
	d.at = d.at.Add(time.Duration(d.rng.Int64N(int64(2 * step))))
	d.row = append(d.row, '\t')
	d.row = d.at.AppendFormat(d.row, "2006-01-02 15:04:05.000000-07")
}

func (d *dump) pick(list []string) string { return list[d.rng.IntN(len(list))] }

var (
	firstNames = []string{"Chloé", "Jürgen", "Zofia", "Seán", "Anna", "Mehmet", "Ioana", "Björn", "Lucía", "Tomáš", "Ελένη", "Marie"}
	lastNames  = []string{"Lefèvre", "Müller", "Wiśniewski", "Murphy", "Novák", "Yılmaz", "Popescu", "Åberg", "García", "Rossi", "Kovács"}
	cities     = []string{"Orléans", "Köln", "Łódź", "Dublin", "Brno", "İzmir", "Iași", "Malmö", "Sevilla", "Torino", "Pécs", "Lyon"}
	yesNo      = []string{"t", "f"}
	status     = []string{"new", "paid", "shipped", "shipped", "shipped", "returned"}
	discounts  = []string{"0.00", "0.00", "0.00", "0.00", "5.00", "10.00"}
	kinds      = []string{"view", "view", "view", "search", "add_to_cart", "checkout"}
	notes      = []string{"please ring twice", "leave it with the neighbour", "it is a present, no invoice in the parcel",
		"call before delivery", "the door code is on the bell", "deliver after six", "wrap it in paper, not in plastic"}
	agents = []string{"Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0",
		"Mozilla/5.0 (iPhone; CPU iPhone OS 17_5 like Mac OS X) AppleWebKit/605.1.15 Mobile/15E148 Safari/604.1",
		"Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 Chrome/126.0.0.0 Safari/537.36"}
)
