package dump

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// pgLayouts are where packages put the programs of each version: Debian's, and those of the project for Red Hat's.
var pgLayouts = []string{"/usr/lib/postgresql/*/bin", "/usr/pgsql-*/bin"}

// askTimeout bounds what is asked of programs about themselves.
const askTimeout = 10 * time.Second

// pgVersion is a version of PostgreSQL: 15.18, 9.6.24.
type pgVersion struct {
	major int // compared: 15; 9 for all of the old ones
	minor int
	text  string
}

var pgVersionPattern = regexp.MustCompile(`(\d+)(?:\.(\d+))?[.\w]*`)

// parsePgVersion finds the version in "15.18 (Debian …)" and in "pg_dump (PostgreSQL) 15.18".
func parsePgVersion(text string) (pgVersion, error) {
	m := pgVersionPattern.FindStringSubmatch(text)
	if m == nil {
		return pgVersion{}, fmt.Errorf("no version of PostgreSQL in %q", text)
	}
	major, _ := strconv.Atoi(m[1])
	minor, _ := strconv.Atoi(m[2])
	return pgVersion{major, minor, m[0]}, nil
}

// pgTools are the programs of one version.
type pgTools struct {
	dump, restore string // paths
	version       pgVersion
}

// beside is the path of another program of the same version.
func (t pgTools) beside(name string) string { return filepath.Join(filepath.Dir(t.dump), name) }

// check reads an archive to its end and prints it as a script.
func (t pgTools) check() program {
	var args []string
	if t.version.major >= 12 { // those before print when nothing is said, and would take - for a name
		args = []string{"--file=-"}
	}
	return program{path: t.restore, args: args, env: environ()}
}

// checkContents reads the beginning of an archive, up to the first rows, and prints it as a script.
func (t pgTools) checkContents() program {
	check := t.check()
	check.args = append(check.args, "--schema-only")
	return check
}

// offers tells whether a program knows an option or a command: whether the help that it prints names it.
func offers(ctx context.Context, path, help, word string) bool {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	out, err := printed(ctx, path, help)
	return err == nil && strings.Contains(out, word)
}

// tools chooses the programs for a server: of those that are not older than it the oldest, because what a newer pg_dump
// writes, the server's own pg_restore may not read; of these the last correction.
func (p *Postgres) tools(ctx context.Context, server pgVersion) (pgTools, error) {
	found, err := p.allTools(ctx)
	if err != nil {
		return pgTools{}, err
	}
	if len(found) == 0 && p.Programs != "" {
		return pgTools{}, fmt.Errorf("no pg_dump in %s says its version: correct `programs`, or leave it out", p.Programs)
	}
	if len(found) == 0 {
		_, err := findProgram("pg_dump")
		if err == nil {
			err = fmt.Errorf("pg_dump in PATH does not say its version")
		}
		return pgTools{}, err
	}
	var best, newest pgTools
	for _, t := range found {
		if t.version.major > newest.version.major {
			newest = t
		}
		if t.version.major < server.major {
			continue
		}
		better := t.version.major < best.version.major || t.version.major == best.version.major && t.version.minor > best.version.minor
		if best.dump == "" || better {
			best = t
		}
	}
	if best.dump == "" {
		return pgTools{}, fmt.Errorf("%s is of version %s, older than the server (%s), and cannot dump it; "+
			"install the package postgresql-client-%d", newest.dump, newest.version.text, server.text, server.major)
	}
	if _, err := exec.LookPath(best.restore); err != nil {
		return pgTools{}, notFound(best.restore, err)
	}
	return best, nil
}

// restorer chooses the programs for a server and an archive that a newer pg_dump may have made: pg_restore reads none of
// a later format than its own.
func (p *Postgres) restorer(ctx context.Context, server pgVersion, archive []byte) (pgTools, error) {
	needed := archiveNeeds(archive)
	if needed <= server.major {
		return p.tools(ctx, server)
	}
	tools, err := p.tools(ctx, pgVersion{major: needed})
	if err != nil && context.Cause(ctx) == nil {
		err = fmt.Errorf("the archive was made by a newer pg_dump: install the package postgresql-client-%d", needed)
	}
	return tools, err
}

// archiveNeeds is the first version that reads archives of a format: its number stands behind the magic word. 0 for all
// the old ones.
func archiveNeeds(head []byte) int {
	if len(head) < len(archiveMagic)+2 || head[len(archiveMagic)] != 1 {
		return 0
	}
	switch minor := head[len(archiveMagic)+1]; {
	case minor >= 16:
		return 17
	case minor == 15:
		return 16
	}
	return 0
}

// allTools finds every version that is installed, and that says which it is. The error is the reason for which ctx has ended: not
// that there are none.
func (p *Postgres) allTools(ctx context.Context) (found []pgTools, err error) {
	layouts := pgLayouts
	if p.layouts != nil {
		layouts = p.layouts
	}
	if p.Programs != "" {
		layouts = []string{p.Programs}
	}
	var paths []string
	for _, layout := range layouts {
		more, _ := filepath.Glob(filepath.Join(layout, "pg_dump"))
		paths = append(paths, more...)
	}
	if path, err := exec.LookPath("pg_dump"); err == nil && p.Programs == "" {
		paths = append(paths, path)
	}
	asking, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	for _, path := range paths {
		line, err := firstLine(asking, path, "--version")
		if err != nil {
			continue
		}
		if version, err := parsePgVersion(line); err == nil {
			found = append(found, pgTools{path, filepath.Join(filepath.Dir(path), "pg_restore"), version})
		}
	}
	return found, context.Cause(ctx)
}

// means are what a dump of a server takes: the programs, and the password for them in a file, which the caller closes.
func (p *Postgres) means(ctx context.Context, db *pgDatabase, server pgVersion) (pgTools, *os.File, error) {
	tools, err := p.tools(ctx, server)
	if err != nil {
		return pgTools{}, nil, err
	}
	password, err := db.passwordFile()
	return tools, password, err
}
