// Command quickstart shows the main job on a machine that has nothing but Go: it makes a small shop's database with a
// writer on it, runs Caddy with this plugin in this process, backs the shop up, changes it, backs it up again, restores
// the first backup and compares, and then leaves Caddy serving the page. Everything lies in one folder, made anew by
// each run.
package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/dustin/go-humanize"
)

// options are the flags.
type options struct {
	dir  string
	port int
	once bool
	size scale
}

func main() {
	o := options{size: ordinary}
	flag.StringVar(&o.dir, "dir", "quickstart-data", "folder that everything lies in; made anew by each run")
	flag.IntVar(&o.port, "port", 8421, "port of the page on 127.0.0.1; another one is taken when it is in use")
	flag.BoolVar(&o.once, "once", false, "end after the comparison instead of serving the page")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := quickstart(ctx, os.Stdout, o); err != nil && ctx.Err() == nil {
		fmt.Fprintln(os.Stderr, "quickstart:", err)
		os.Exit(1)
	}
}

func quickstart(ctx context.Context, w io.Writer, o options) (err error) {
	port, err := choosePort(o.port)
	if err != nil {
		return err
	}
	at, err := prepare(o.dir)
	if err != nil {
		return err
	}
	if err := writeCaddyfile(at, port); err != nil {
		return err
	}
	s := &story{w: w, at: at, client: newClient(at.socket)}
	fmt.Fprintf(w, "A small shop, backed up by Caddy. Everything lies in %s\n\n", shown(at.folder))
	if s.shop, err = openShop(ctx, s, o.size); err != nil {
		return err
	}
	defer s.shop.db.Close()
	closed := s.shop.keepOpen(ctx, 20*time.Millisecond)
	defer func() {
		if _, failed := closed(); err == nil {
			err = failed
		}
	}()

	// Whatever the plugin keeps for itself, the generated password among it, goes into the folder too.
	if err := os.Setenv("XDG_DATA_HOME", at.folder); err != nil {
		return err
	}
	if err := startCaddy(at.caddyfile); err != nil {
		return err
	}
	defer caddy.Stop()
	s.tell("Caddy", "runs with %s, in which this matters:", shown(at.caddyfile))
	for line := range strings.Lines(backupOption(at)) {
		fmt.Fprintf(w, "  %-12s %s", "", strings.ReplaceAll(line, "\t", "  "))
	}
	if err := s.run(ctx); err != nil {
		return err
	}
	if err := s.goodbye(ctx, port); err != nil || o.once {
		return err
	}
	<-ctx.Done()
	return nil
}

// openShop makes the shop and says how large it is.
func openShop(ctx context.Context, s *story, size scale) (*shop, error) {
	began := time.Now()
	shop, err := newShop(ctx, s.at.shop, size)
	if err != nil {
		return nil, err
	}
	info, err := os.Stat(s.at.shop)
	if err != nil {
		return nil, err
	}
	s.tell("the shop", "%s: %s, %s customers, %s orders; made in %s", shown(s.at.shop), humanize.Bytes(uint64(info.Size())),
		humanize.Comma(int64(size.customers)), humanize.Comma(int64(size.orders)), time.Since(began).Round(100*time.Millisecond))
	s.tell("a writer", "adds orders to it all the while")
	return shop, nil
}

// goodbye says where to look.
func (s *story) goodbye(ctx context.Context, port int) error {
	list, err := s.client.Repositories(ctx)
	if err != nil {
		return err
	}
	if len(list) != 1 {
		return fmt.Errorf("there are %d repositories, not one", len(list))
	}
	fmt.Fprintf(s.w, "\n  See it:      http://127.0.0.1:%d/  (user demo, password demo)\n", port)
	fmt.Fprintf(s.w, "  With restic: restic -r %s --password-file %s snapshots\n",
		shown(s.at.repository), shown(list[0].GeneratedPassword))
	fmt.Fprintf(s.w, "  With caddy:  caddy backup list --address unix/%s\n", s.at.socket)
	fmt.Fprintf(s.w, "  Stop:        Ctrl-C\n")
	return nil
}
