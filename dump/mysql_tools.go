package dump

import (
	"context"
	"fmt"
	"os/exec"
	"regexp"
	"slices"
)

// myTool is a program of MariaDB's or MySQL's clients.
type myTool struct {
	path    string
	version myVersion
}

// myDumpers are the names of the program that dumps. Either may be a link to the other.
var myDumpers = []string{"mariadb-dump", "mysqldump"}

var myToolVersion = regexp.MustCompile(`(?:Distrib|from|Ver) (\d+\.\d+\.\d+\S*)`)

// parseMyTool reads what a program says of its version: "mariadb-dump  Ver 10.19 Distrib 10.11.19-MariaDB, for …",
// "mariadb-dump from 11.4.2-MariaDB, client 10.19 for …", "mysqldump  Ver 8.0.36 for Linux on x86_64 …".
func parseMyTool(line string) (myVersion, error) {
	m := myToolVersion.FindStringSubmatch(line)
	if m == nil {
		return myVersion{}, fmt.Errorf("no version of MariaDB or MySQL in %.80q", line)
	}
	return parseMyVersion(m[1])
}

// dumper finds the program for a server: one of the same make, if there is one.
func (m *MySQL) dumper(ctx context.Context, server myVersion) (myTool, error) {
	asking, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	var found []myTool
	var problem error
	for _, name := range myDumpers {
		path, err := exec.LookPath(name)
		if err != nil {
			continue
		}
		line, err := firstLine(asking, path, "--version")
		if err == nil {
			var version myVersion
			if version, err = parseMyTool(line); err == nil {
				found = append(found, myTool{path, version})
			}
		}
		if err != nil {
			problem = fmt.Errorf("%s does not say its version: %w", path, err)
		}
	}
	if err := context.Cause(ctx); err != nil { // not that there is none
		return myTool{}, err
	}
	if len(found) == 0 {
		if problem == nil {
			name := myDumpers[1]
			if server.mariadb {
				name = myDumpers[0]
			}
			_, problem = findProgram(name)
		}
		return myTool{}, problem
	}
	if i := slices.IndexFunc(found, func(t myTool) bool { return t.version.mariadb == server.mariadb }); i >= 0 {
		return found[i], nil
	}
	return found[0], nil
}

// doubts are what a person should know of a program for a server.
func (t myTool) doubts(server myVersion) (notes []string) {
	newer := slices.Compare(server.numbers[:2], t.version.numbers[:2]) > 0
	switch {
	case t.version.mariadb != server.mariadb:
		notes = append(notes, fmt.Sprintf("%s was dumped with the program of %s: install the client of %s", server, t.version, server.name()))
	case newer:
		notes = append(notes, fmt.Sprintf("%s is older than the server, %s, and may not know all that it has", t.path, server))
	}
	return notes
}

// historyVersion is the MariaDB from which on the history of system-versioned tables can be dumped.
var historyVersion = []int{10, 11}

// options of the program for a dump of one database. Equal databases give equal dumps: no date in it.
func (t myTool) options(server myVersion) []string {
	options := []string{
		"--single-transaction", "--quick", "--routines", "--triggers", "--events", "--hex-blob", "--no-tablespaces",
		"--skip-dump-date", "--default-character-set=utf8mb4", "--max-allowed-packet=1G",
	}
	if t.version.mariadb && server.mariadb && slices.Compare(t.version.numbers[:2], historyVersion) >= 0 && slices.Compare(server.numbers[:2], historyVersion) >= 0 {
		options = append(options, "--dump-history") // of system-versioned tables
	}
	if !t.version.mariadb {
		options = append(options, "--set-gtid-purged=OFF")
		if t.version.numbers[0] >= 8 && (server.mariadb || server.numbers[0] < 8) {
			options = append(options, "--column-statistics=0")
		}
	}
	return options
}
