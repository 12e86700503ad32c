package dump

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/caddy-backup/caddy-backup/backup"
	"github.com/caddy-backup/caddy-backup/dump/dumptest"
	"github.com/caddy-backup/caddy-backup/internal/realtest"
)

// overwriteAndHang restores over a live database in a process of its own, says "ready" when so many hundredths of the dump
// were read, and then waits to be killed.
func overwriteAndHang(path string) {
	percent, err := strconv.Atoi(os.Getenv("DUMP_TEST_PERCENT"))
	exitOn(err)
	dump, err := os.ReadFile(path)
	exitOn(err)
	p := &Postgres{DSN: "{env.DUMP_TEST_DSN}"}
	exitOn(provision(p))
	hang := readerFunc(func([]byte) (int, error) {
		fmt.Println("ready")
		select {}
	})
	part := backup.Part{Name: filepath.Base(path)}
	exitOn(p.Overwrite(context.Background(), backup.Stored{Part: part}, io.MultiReader(bytes.NewReader(dump[:len(dump)*percent/100]), hang),
		backup.Over{Force: true}, dumptest.Task(&testing.T{})))
}

// A restore that is killed leaves the live database as it was, no process behind, and nothing that the next one does not
// take away.
func testPostgresKilledOverwrite(t *testing.T, x *pgLive) {
	pg := x.pg
	file := filepath.Join(t.TempDir(), "db.dump")
	if err := os.WriteFile(file, x.dump, 0o600); err != nil {
		t.Fatal(err)
	}
	marker := t.TempDir()
	percents := []int{50, 100}
	if realtest.Soak() {
		percents = []int{10, 30, 50, 70, 90, 100}
	}
	for _, percent := range percents {
		killWhenReady(t, "overwrite", file, "DUMP_TEST_PERCENT="+strconv.Itoa(percent), "TMPDIR="+marker)
		dumptest.Gone(t, marker)
		untilLetGo(t, pg)
		samePgState(t, x.state(t), x.is)
		if left := buildings(t, pg); len(left) == 0 && percent > 10 { // so little fits into the buffers
			t.Errorf("%d %%: there are %v", percent, left)
		}
	}
	var held []string
	for _, from := range []string{"postgres", "template1"} { // as another restore, which is not killed
		conn := pgConnect(t, pg, from)
		defer closePg(conn)
		name := newBuildName()
		pg.SQL(t, "postgres", "CREATE DATABASE "+name+" TEMPLATE template0")
		if _, err := pgValue(t.Context(), conn, "SELECT pg_advisory_lock(hashtext($1))::text", name); err != nil {
			t.Fatal(err)
		}
		held = append(held, name)
	}
	if err := x.Overwrite(t.Context(), x.stored, bytes.NewReader(x.dump[:len(x.dump)/2]), backup.Over{}, dumptest.Task(t)); err == nil {
		t.Fatal("half a dump was restored")
	}
	left := buildings(t, pg)
	slices.Sort(left)
	slices.Sort(held)
	if !slices.Equal(left, held) {
		t.Errorf("there are %v, want those of the other restores, %v", left, held)
	}
	for _, name := range held {
		pg.SQL(t, "postgres", "DROP DATABASE "+name)
	}
}

// untilLetGo waits until the server has noticed that those are gone who held a building, or were in one.
func untilLetGo(t *testing.T, pg *realtest.Postgres) {
	t.Helper()
	eventually(t, pg, "postgres", "SELECT (SELECT count(*) FROM pg_locks WHERE locktype = 'advisory') + "+
		"(SELECT count(*) FROM pg_stat_activity WHERE datname LIKE '"+buildPrefix+"%')", "0")
}

func buildings(t *testing.T, pg *realtest.Postgres) []string {
	t.Helper()
	return strings.Fields(pg.SQL(t, "postgres", "SELECT datname FROM pg_database WHERE datname LIKE '"+buildPrefix+"%'"))
}
