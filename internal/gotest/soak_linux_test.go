package main

import (
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// TestSoak runs scripts/soak with another go in its place, which only writes down what it is asked for: every fuzz target that there
// is has its turn, once and in its package, the folders that are named have tests, and failures are told.
func TestSoak(t *testing.T) {
	targets, tested := testsOf(t, filepath.Join("..", ".."))
	calls, out, err := soak(t, "0")
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	var fuzzed []string
	for _, call := range calls {
		args := strings.Fields(call)
		if i := slices.Index(args, "-fuzz"); i >= 0 {
			if args[slices.Index(args, "-run")+1] != "^$" {
				t.Errorf("tests would run beside a fuzz target: %s", call)
			}
			fuzzed = append(fuzzed, filepath.Clean(args[len(args)-1])+" "+strings.Trim(args[i+1], "^$"))
			continue
		}
		for _, arg := range args[1:] {
			if folder, all := strings.CutSuffix(arg, "/..."); all && strings.HasPrefix(arg, ".") || strings.HasPrefix(arg, "./") {
				needsTests(t, tested, filepath.Clean(folder), all)
			}
		}
	}
	slices.Sort(fuzzed)
	if !slices.Equal(fuzzed, targets) || len(targets) == 0 {
		t.Errorf("got the fuzz targets\n%s\nwant\n%s", strings.Join(fuzzed, "\n"), strings.Join(targets, "\n"))
	}
	if others := len(calls) - len(fuzzed); others != 2 {
		t.Errorf("%d runs of tests beside the fuzzing, want 2: with the race detector, and all", others)
	}
	if calls, out, err = soak(t, "1"); err == nil || strings.Count(out, "FAILED: ") != len(calls) {
		t.Errorf("all of %d parts failed: %v\n%s", len(calls), err, out)
	}
}

// needsTests wants tests in a folder, or in one below it.
func needsTests(t *testing.T, tested []string, folder string, below bool) {
	t.Helper()
	has := func(dir string) bool {
		return dir == folder || below && (folder == "." || strings.HasPrefix(dir, folder+string(filepath.Separator)))
	}
	if !slices.ContainsFunc(tested, has) {
		t.Errorf("there are no tests in %s", folder)
	}
}

// soak runs the script with a go that notes its arguments and exits with the status that is given.
func soak(t *testing.T, status string) (calls []string, out string, err error) {
	t.Helper()
	dir := t.TempDir()
	log := filepath.Join(dir, "calls")
	program := fmt.Sprintf("#!/bin/sh\necho \"$@\" >>'%s'\nexit %s\n", log, status)
	if err := os.WriteFile(filepath.Join(dir, "go"), []byte(program), 0o700); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), "bash", filepath.Join("..", "..", "scripts", "soak"))
	cmd.Env = append(os.Environ(), "PATH="+dir+string(os.PathListSeparator)+os.Getenv("PATH"))
	told, err := cmd.CombinedOutput()
	text, readErr := os.ReadFile(log)
	if readErr != nil {
		t.Fatalf("nothing was started: %v\n%s", err, told)
	}
	return strings.Split(strings.TrimSpace(string(text)), "\n"), string(told), err
}

// testsOf finds the fuzz targets, as "folder name", and the folders that have tests.
func testsOf(t *testing.T, root string) (targets, folders []string) {
	t.Helper()
	err := filepath.WalkDir(root, func(path string, e fs.DirEntry, err error) error {
		if err != nil || !strings.HasSuffix(path, "_test.go") {
			if errors.Is(err, fs.ErrNotExist) && path != root {
				return nil // a folder that somebody else had here for a while
			}
			return err
		}
		f, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		folder, err := filepath.Rel(root, filepath.Dir(path))
		if err != nil {
			return err
		}
		folders = append(folders, folder)
		for _, d := range f.Decls {
			if fn, ok := d.(*ast.FuncDecl); ok && fn.Recv == nil && strings.HasPrefix(fn.Name.Name, "Fuzz") {
				targets = append(targets, folder+" "+fn.Name.Name)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(targets)
	return targets, folders
}
