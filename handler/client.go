package handler

import (
	"context"
	"io"
	"net/http"

	"github.com/caddy-backup/caddy-backup/backup"
)

// Client is the API from the other side: it mirrors the methods of backup.Service that the API serves. It works over
// any http.RoundTripper: Caddy's admin endpoint, or InProcess for a Service in the same process.
type Client struct {
	Base string // "http://localhost:2019/backup/", with the slash
	HTTP *http.Client
}

// InProcess is a transport that calls an http.Handler directly, streaming the answer.
func InProcess(h http.Handler) http.RoundTripper { panic("to come") }

// Error is an error answer of the API. errors.Is finds the sentinel of package backup or repo that it stands for.
type Error struct {
	Status  int    `json:"-"`
	Message string `json:"error"`
	Code    string `json:"code"` // not_found invalid conflict closed no_repository exists wrong_password locked damaged …
}

func (e *Error) Error() string { return e.Message }

// The methods do what those of backup.Service do.

func (c *Client) Jobs(ctx context.Context) ([]backup.JobStatus, error)           { panic("to come") }
func (c *Client) Job(ctx context.Context, name string) (backup.JobStatus, error) { panic("to come") }
func (c *Client) Backup(ctx context.Context, job string) (backup.Run, error)     { panic("to come") }
func (c *Client) Check(ctx context.Context, q backup.CheckRequest) (backup.Run, error) {
	panic("to come")
}
func (c *Client) Restore(ctx context.Context, q backup.RestoreRequest) (backup.Run, error) {
	panic("to come")
}
func (c *Client) Runs(ctx context.Context, f backup.RunFilter) ([]backup.Run, error) {
	panic("to come")
}
func (c *Client) Run(ctx context.Context, id string) (backup.Run, error) { panic("to come") }
func (c *Client) Cancel(ctx context.Context, id string) error            { panic("to come") }
func (c *Client) Repositories(ctx context.Context) ([]backup.RepositoryStatus, error) {
	panic("to come")
}
func (c *Client) InitRepository(ctx context.Context, name string) (backup.RepositoryStatus, error) {
	panic("to come")
}
func (c *Client) Snapshots(ctx context.Context, q backup.SnapshotQuery) (backup.SnapshotList, error) {
	panic("to come")
}
func (c *Client) Snapshot(ctx context.Context, repository, id, job string) (backup.Snapshot, error) {
	panic("to come")
}
func (c *Client) List(ctx context.Context, repository, id, path string) ([]backup.Content, error) {
	panic("to come")
}

// Open streams a file of a snapshot; the size is -1 when unknown.
func (c *Client) Open(ctx context.Context, repository, id, path string) (io.ReadCloser, int64, error) {
	panic("to come")
}
