package caddybackup

import (
	"cmp"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// logFields are the fields of log lines that README.md tells of. People's pipelines and alerts know them: they keep their names
// and their meaning.
var logFields = []string{
	"run", "kind", "job", "repository", "location", "source", "part", "program", "snapshot", "notifier", "event", "by", "user",
	"state", "took", "error", "summary", "alarm", "attempts", "bytes", "bytes_read", "bytes_new", "bytes_stored", "path", "file",
}

// otherWords are names that somebody could choose for what has one.
var otherWords = map[string]string{
	"err": "error", "id": "run, or the name of the thing and _id", "run_id": "run", "repo": "repository", "snapshot_id": "snapshot", "size": "bytes",
	"duration": "took", "elapsed": "took", "tries": "attempts", "try": "attempts", "subset": "read_data_subset", "time": "another: it is the line's own",
	"level": "another: it is the line's own", "msg": "another: it is the line's own", "message": "another: it is the line's own", "logger": "another: it is the line's own",
	"dir": "path, or file", "name": "the name of the thing", "who": "by", "value": "the name of the thing", "password": "none: secrets are not logged",
}

var fieldName = regexp.MustCompile(`^[a-z][a-z0-9]*(_[a-z0-9]+)*$`)

// TestLogFields reads all code and looks at the fields that it logs.
func TestLogFields(t *testing.T) {
	used := map[string]bool{}
	err := filepath.WalkDir(".", func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && (slices.Contains([]string{"examples", "bench", "internal"}, path) || path != "." && strings.HasPrefix(path, ".")):
			return filepath.SkipDir
		case d.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go"):
			return nil
		}
		files := token.NewFileSet()
		parsed, err := parser.ParseFile(files, path, nil, 0)
		if err != nil {
			return err
		}
		ast.Inspect(parsed, func(n ast.Node) bool {
			call, _ := n.(*ast.CallExpr)
			for _, name := range loggedFields(call) {
				used[name] = true
				if instead := otherWords[name]; instead != "" || !fieldName.MatchString(name) {
					t.Errorf("%s logs the field %q; take: %s", files.Position(call.Pos()), name, cmp.Or(instead, "words in small letters, with _ between them"))
				}
			}
			return true
		})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range logFields {
		if !used[name] {
			t.Errorf("nothing logs the field %q any more", name)
		}
	}
}

// loggedFields are the names of the fields that a call gives to a logger, those that stand there as words.
func loggedFields(call *ast.CallExpr) (names []string) {
	if call == nil {
		return nil
	}
	sel, ok := call.Fun.(*ast.SelectorExpr)
	if !ok {
		return nil
	}
	if on, ok := sel.X.(*ast.Ident); ok && on.Name == "zap" {
		if sel.Sel.Name == "Error" {
			return []string{"error"}
		}
		return words(call.Args[:min(1, len(call.Args))])
	}
	method, first := sel.Sel.Name, 0
	switch strings.TrimSuffix(method, "Context") {
	case "Debug", "Info", "Warn", "Error":
		if first = 1; strings.HasSuffix(method, "Context") {
			first = 2
		}
	case "audit":
		first = 2 // who, and what
	case "With":
	default:
		return nil
	}
	if !isLog(sel.X) && method != "audit" || first > len(call.Args) {
		return nil
	}
	return words(call.Args[first:])
}

// isLog tells a logger by its name.
func isLog(x ast.Expr) bool {
	switch x := x.(type) {
	case *ast.Ident:
		return strings.Contains(strings.ToLower(x.Name), "log")
	case *ast.SelectorExpr:
		return isLog(x.Sel)
	case *ast.CallExpr:
		return isLog(x.Fun)
	}
	return false
}

// words are every second argument, the names beside the values.
func words(args []ast.Expr) (names []string) {
	for i := 0; i < len(args); i += 2 {
		if lit, ok := args[i].(*ast.BasicLit); ok && lit.Kind == token.STRING {
			name, _ := strconv.Unquote(lit.Value)
			names = append(names, name)
		}
	}
	return names
}
