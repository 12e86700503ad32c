package realtest

import (
	"os"
	"os/exec"
	"strings"
	"testing"
)

func TestPostgres(t *testing.T) {
	p := StartPostgres(t)
	p.CreateDatabase(t, "shop")
	p.SQL(t, "shop", "CREATE TABLE a (n int PRIMARY KEY, s text); INSERT INTO a SELECT i, 'x' FROM generate_series(1,10) i")
	digests := p.Digests(t, "shop")
	if len(digests) != 1 || !strings.HasPrefix(digests["public.a"], "10\t") {
		t.Errorf("digests = %v", digests)
	}
	cmd := exec.Command(p.Program("psql"), "-X", "-A", "-t", "-c", "select count(*) from a", p.DSN("shop"))
	if out, err := cmd.CombinedOutput(); err != nil || string(out) != "10\n" {
		t.Errorf("over TCP with the password: %v: %s", err, out)
	}
	if _, err := p.TrySQL(t.Context(), "shop", "select nonsense"); err == nil {
		t.Error("no error for nonsense")
	}
	p.Stop(t)
	p.Stop(t)
	if left := Leftovers(p.Dir); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

func TestRestic(t *testing.T) {
	dir := t.TempDir()
	Restic(t, dir, "pw", "init")
	if out := Restic(t, dir, "pw", "snapshots", "--json"); strings.TrimSpace(out) != "null" && strings.TrimSpace(out) != "[]" {
		t.Errorf("snapshots = %q", out)
	}
	_, err := TryRestic(t, dir, "wrong", "snapshots")
	if ExitCode(err) < 1 {
		t.Errorf("wrong password: %v", err)
	}
}

func TestProjectRoot(t *testing.T) {
	if _, err := os.Stat(ProjectRoot(t) + "/go.mod"); err != nil {
		t.Error(err)
	}
	if _, ok := Shared(t, "no/such/file"); ok {
		t.Error("found what is not there")
	}
}
