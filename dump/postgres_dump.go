package dump

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"

	"github.com/caddy-backup/caddy-backup/backup"
)

// Dump runs pg_dump, and has its archive checked beside; or pg_dumpall for what belongs to no database.
func (p *Postgres) Dump(ctx context.Context, part backup.Part, w io.Writer, t *backup.Task) (backup.Facts, error) {
	db, err := p.database(part)
	if err != nil {
		return backup.Facts{}, err
	}
	if p.meaning(part).globals {
		return p.dumpGlobals(ctx, db, w, t)
	}
	if ours(db.name) {
		return backup.Facts{}, fmt.Errorf("%w: database %s is one that a restore or a drill made for a while", backup.ErrInvalid, db.name)
	}
	look, err := db.look(ctx, t)
	if err != nil {
		return backup.Facts{}, err
	}
	tools, password, err := p.means(ctx, db, look.server)
	if err != nil {
		return backup.Facts{}, err
	}
	defer password.Close()
	facts := backup.Facts{
		Engine: "PostgreSQL " + look.server.text,
		Tool:   "pg_dump " + tools.version.text,
		Source: fmt.Sprintf("database %s on %s", db.name, db.place),
		Notes:  look.notes,
	}
	if p.Format == formatPlain {
		dump := db.program(tools.dump, password, append(p.dumpArgs(db, "plain"), restrictArgs(ctx, tools.dump, db)...)...)
		watch := newScriptWatch(scriptMarks[0].end)
		err = dumpScript(ctx, t, dump, w, watch)
		facts.Rows, facts.Checked = watch.rows, checkedScript
	} else {
		dump := db.program(tools.dump, password, p.dumpArgs(db, "custom")...)
		facts.Rows, facts.Checked, err = dumpArchive(ctx, t, dump, tools, w)
	}
	if err != nil {
		return backup.Facts{}, db.explain("dump", err)
	}
	for _, table := range look.extensions {
		delete(facts.Rows, table)
	}
	return facts, nil
}

// dumpArgs are those of pg_dump.
func (p *Postgres) dumpArgs(db *pgDatabase, format string) []string {
	args := []string{"--format=" + format, "--compress=0", "--no-password",
		"--lock-wait-timeout=" + strconv.FormatInt(p.lockTimeout().Milliseconds(), 10)}
	if len(p.Schemas)+len(p.Tables) > 0 {
		args = append(args, "--strict-names") // else a name with a typing error would go missing silently
	}
	for _, option := range []struct {
		name     string
		patterns []string
	}{
		{"--schema=", p.Schemas}, {"--table=", p.Tables}, {"--exclude-schema=", p.ExcludeSchemas},
		{"--exclude-table=", p.ExcludeTables}, {"--exclude-table-data=", p.ExcludeTableData},
	} {
		for _, pattern := range option.patterns {
			args = append(args, option.name+pattern)
		}
	}
	return append(args, "--dbname="+db.conninfo(db.name))
}

// dumpScript gives the script that a program prints to w, and looks at it as it passes by.
func dumpScript(ctx context.Context, t *backup.Task, dump program, w io.Writer, watch *scriptWatch) error {
	if _, err := dump.run(ctx, t, nil, &teeWriter{w: w, tee: watch}); err != nil {
		return err
	}
	return watch.whole()
}

// dumpArchive gives the archive that a program prints to w, and has it checked beside. The error is nil only if the
// program ended well and both took all of it.
func dumpArchive(ctx context.Context, t *backup.Task, dump program, tools pgTools, w io.Writer) (map[string]int64, string, error) {
	theirs, ours := io.Pipe()
	ctx, fail := context.WithCancelCause(ctx)
	defer fail(nil)
	check := archiveCheck{tools: tools}
	checked := make(chan error, 1)
	go func() {
		err := check.run(ctx, t, theirs)
		if err != nil {
			fail(err) // ends the dump: it is worth nothing
		}
		theirs.CloseWithError(err)
		checked <- err
	}()
	tee := bufio.NewWriterSize(ours, copyBuffer) // pg_dump prints in small pieces
	out := &teeWriter{w: w, tee: tee}
	_, err := dump.run(ctx, t, nil, out)
	if err == nil {
		err = tee.Flush()
	}
	if err != nil {
		fail(err) // ends the check
	}
	ours.CloseWithError(err)
	checkErr := <-checked
	if checkErr != nil && (err == nil || out.refused || errors.Is(err, checkErr)) {
		return nil, "", fmt.Errorf("the archive is not whole: %w", checkErr)
	}
	return check.rows, check.how, err
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
