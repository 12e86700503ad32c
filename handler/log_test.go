package handler

import (
	"bytes"
	"io"
	"sync"

	"github.com/caddyserver/caddy/v2"
)

// testLog is a writer of Caddy's logs that keeps them in memory, by key. Into a file, in a folder that is gone with its test, Caddy
// would write once more, and make the folder anew, when the next configuration takes its place.
type testLog struct {
	Key string `json:"key"`
}

var testLogs sync.Map // *logged by key

func init() { caddy.RegisterModule(testLog{}) }

func (testLog) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "caddy.logging.writers.test", New: func() caddy.Module { return new(testLog) }}
}

func (l testLog) String() string    { return l.WriterKey() }
func (l testLog) WriterKey() string { return "test:" + l.Key }

func (l testLog) OpenWriter() (io.WriteCloser, error) { return loggedOf(l.Key), nil }

// loggedOf is what was logged under a key.
func loggedOf(key string) *logged {
	l, _ := testLogs.LoadOrStore(key, new(logged))
	return l.(*logged)
}

// logged is a buffer for several goroutines.
type logged struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logged) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logged) Close() error { return nil }

func (l *logged) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}
