package integration

import (
	"io"
	"net/http"
	"net/http/httptest"
	"os"

	"github.com/rogpeppe/go-internal/testscript"
)

// scriptHook: `hook <variable> <file> <status>` starts a web server until the end of the script: its address goes into the variable,
// what it is sent to the end of the file, and it always answers with the status.
func scriptHook(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 3 {
		ts.Fatalf("usage: hook <variable> <file> <status>")
	}
	file, err := os.OpenFile(ts.MkAbs(args[1]), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	ts.Check(err)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(file, r.Body)
		if args[2] != "200" {
			w.WriteHeader(http.StatusNotFound)
		}
	}))
	ts.Defer(func() { server.Close(); file.Close() })
	ts.Setenv(args[0], server.URL)
}
