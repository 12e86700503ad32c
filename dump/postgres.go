package dump

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/caddy-backup/caddy-backup/backup"
)

func init() { caddy.RegisterModule(new(Postgres)) }

// Postgres dumps a PostgreSQL database with pg_dump, in its custom format and uncompressed, so that the repository can
// compress and deduplicate it. While it is dumped, pg_restore reads the same bytes to the end of the archive; if it finds
// fault with them, there is no backup. The server's roles and tablespaces are not part of a database: pg_dumpall
// --globals-only as a second source, a command, saves those.
//
// The programs are taken from PATH and from where packages put each version of them; they must not be older than the
// server. They get the environment variables that libpq knows (PG…, but no passwords), and the password in a file that
// has no name.
type Postgres struct {
	// DSN says where the database is and who we are there, as libpq takes it: postgres://user:password@host:5432/name
	// or host=… dbname=…. Placeholders are replaced.
	DSN string `json:"dsn,omitempty"`

	dsn     string   // resolved: secret
	layouts []string // for tests: where versions of the programs are, instead of pgLayouts
}

// CaddyModule tells Caddy about the source.
func (*Postgres) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: namespace + "postgres", New: func() caddy.Module { return new(Postgres) }}
}

// UnmarshalCaddyfile reads
//
//	postgres {
//		dsn <connection string>
//	}
func (p *Postgres) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // the module's name
	if d.NextArg() {
		return d.ArgErr()
	}
	for d.NextBlock(0) {
		switch word := d.Val(); word {
		case "dsn":
			if err := oneArg(d, &p.DSN); err != nil {
				return err
			}
		default:
			return d.Errf("unrecognized subdirective '%s'", word)
		}
	}
	if p.DSN == "" {
		return d.Err("postgres is missing its dsn")
	}
	return nil
}

// Provision replaces the placeholders.
func (p *Postgres) Provision(caddy.Context) (err error) {
	p.dsn, err = resolve("dsn", p.DSN)
	p.dsn = strings.TrimSpace(p.dsn)
	return err
}

// Validate checks that the DSN can be read; nobody is asked.
func (p *Postgres) Validate() error {
	if p.dsn == "" {
		return errors.New("postgres is missing its dsn")
	}
	_, err := parseDSN(p.dsn)
	return err
}

// Parts is the one archive.
func (p *Postgres) Parts(_ context.Context, name string) ([]backup.Part, error) {
	return []backup.Part{{Name: name + ".dump"}}, nil
}

// Dump runs pg_dump, and pg_restore beside it.
func (p *Postgres) Dump(ctx context.Context, _ backup.Part, w io.Writer, t *backup.Task) (backup.Facts, error) {
	db, err := newPgDatabase(p.dsn)
	if err != nil {
		return backup.Facts{}, err
	}
	server, err := db.server(ctx)
	if err != nil {
		return backup.Facts{}, err
	}
	tools, err := p.tools(ctx, server)
	if err != nil {
		return backup.Facts{}, err
	}
	password, err := db.passwordFile()
	if err != nil {
		return backup.Facts{}, err
	}
	defer password.Close()
	dump := db.program(tools.dump, password, "--format=custom", "--compress=0", "--no-password", "--dbname="+db.conninfo(db.name))
	check := program{path: tools.restore, args: []string{"--file=/dev/null"}, env: environ()}
	if err := dumpChecked(ctx, t, dump, check, w); err != nil {
		return backup.Facts{}, db.explain("dump", err)
	}
	return backup.Facts{
		Engine:  "PostgreSQL " + server.text,
		Tool:    "pg_dump " + tools.version.text,
		Source:  fmt.Sprintf("database %s on %s", db.name, db.place),
		Checked: "archive read to its end by pg_restore " + tools.version.text,
	}, nil
}

// dumpChecked gives the output of one program to w and to another one that checks it. The error is nil only if both
// ended well and both took all of it.
func dumpChecked(ctx context.Context, t *backup.Task, dump, check program, w io.Writer) error {
	theirs, tee, err := os.Pipe()
	if err != nil {
		return err
	}
	enlarge(tee)
	ctx, fail := context.WithCancelCause(ctx)
	defer fail(nil)
	checked := make(chan error, 1)
	go func() {
		_, err := check.run(ctx, t, theirs, io.Discard)
		if err != nil {
			fail(err) // ends the dump: it is worth nothing
		}
		checked <- err
	}()
	out := &teeWriter{w: w, tee: tee}
	_, err = dump.run(ctx, t, nil, out)
	if err != nil {
		fail(err) // ends the check
	}
	tee.Close()
	checkErr := <-checked
	switch {
	case out.refused && checkErr == nil:
		return errors.New("pg_restore ended well, but before it had read the whole archive")
	case checkErr != nil && (err == nil || out.refused || errors.Is(err, checkErr)):
		return fmt.Errorf("the archive is not whole: %w", checkErr)
	}
	return err
}

// teeWriter gives what it reads to tee and to w, straight into w's own buffers where w can read.
type teeWriter struct {
	w       io.Writer
	tee     io.Writer
	refused bool // by tee
}

func (t *teeWriter) ReadFrom(r io.Reader) (int64, error) {
	return io.CopyBuffer(t.w, io.TeeReader(r, teeEnd{t}), make([]byte, copyBuffer))
}

func (t *teeWriter) Write(p []byte) (int, error) {
	if n, err := (teeEnd{t}).Write(p); err != nil {
		return n, err
	}
	return t.w.Write(p)
}

type teeEnd struct{ *teeWriter }

func (t teeEnd) Write(p []byte) (int, error) {
	n, err := t.tee.Write(p)
	if err != nil {
		t.refused = true
	}
	return n, err
}

// Interface guards
var (
	_ backup.Source         = (*Postgres)(nil)
	_ caddy.Provisioner     = (*Postgres)(nil)
	_ caddy.Validator       = (*Postgres)(nil)
	_ caddyfile.Unmarshaler = (*Postgres)(nil)
	_ io.ReaderFrom         = (*teeWriter)(nil)
)
