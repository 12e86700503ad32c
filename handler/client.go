package handler

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"net/http"
	"reflect"
	"strconv"
	"time"

	"github.com/caddy-backup/caddy-backup/backup"
)

// Client is the API from the other side: it mirrors the methods of backup.Service that the API serves. It works over
// any http.RoundTripper: Caddy's admin endpoint, or InProcess for a Service in the same process. Errors that the server
// answered are *Error.
type Client struct {
	Base string // "http://localhost:2019/backup/", with the slash
	HTTP *http.Client
}

// The methods do what those of backup.Service do.

// Jobs lists the jobs.
func (c *Client) Jobs(ctx context.Context) ([]backup.JobStatus, error) {
	var out jobList
	err := c.get(ctx, "jobs", nil, &out)
	return out.Jobs, err
}

// Job is one of Jobs.
func (c *Client) Job(ctx context.Context, name string) (out backup.JobStatus, err error) {
	err = c.get(ctx, join("jobs", name), nil, &out)
	return out, err
}

// Backup starts a backup of a job. On backup.ErrConflict the run is the one that is in the way.
func (c *Client) Backup(ctx context.Context, job string) (out backup.Run, err error) {
	err = c.post(ctx, join("jobs", job, "run"), nil, &out)
	if e, ok := errors.AsType[*Error](err); ok && e.Run != nil {
		out = *e.Run
	}
	return out, err
}

// Drill starts a drill of a job. On backup.ErrConflict the run is the one that is in the way.
func (c *Client) Drill(ctx context.Context, q backup.DrillRequest) (out backup.Run, err error) {
	err = c.post(ctx, join("jobs", q.Job, "drill"), q, &out)
	if e, ok := errors.AsType[*Error](err); ok && e.Run != nil {
		out = *e.Run
	}
	return out, err
}

// Import starts an import of files of the server.
func (c *Client) Import(ctx context.Context, q backup.ImportRequest) (out backup.Run, err error) {
	err = c.post(ctx, join("jobs", q.Job, "import"), q, &out)
	return out, err
}

// Check starts a check of a repository.
func (c *Client) Check(ctx context.Context, q backup.CheckRequest) (out backup.Run, err error) {
	name := cmp.Or(q.Repository, defaultRepository)
	err = c.post(ctx, join("repositories", name, "check"), map[string]any{
		"read_data": q.ReadData, "read_data_subset": q.Subset, "accept_fewer": q.AcceptFewer,
	}, &out)
	return out, err
}

// Restore starts a restore.
func (c *Client) Restore(ctx context.Context, q backup.RestoreRequest) (out backup.Run, err error) {
	err = c.post(ctx, join("snapshots", q.Snapshot, "restore"), q, &out)
	return out, err
}

// RestoreFile starts a restore of a dump that is a file of the server.
func (c *Client) RestoreFile(ctx context.Context, q backup.FileRestore) (out backup.Run, err error) {
	err = c.post(ctx, join("jobs", q.Job, "restore"), q, &out)
	return out, err
}

// Runs lists runs, newest first.
func (c *Client) Runs(ctx context.Context, f backup.RunFilter) ([]backup.Run, error) {
	q := query("job", f.Job, "kind", string(f.Kind))
	if f.Limit > 0 {
		q.Set("limit", strconv.Itoa(f.Limit))
	}
	var out runList
	err := c.get(ctx, "runs", q, &out)
	return out.Runs, err
}

// Run is one run with its log.
func (c *Client) Run(ctx context.Context, id string) (out backup.Run, err error) {
	err = c.get(ctx, join("runs", id), nil, &out)
	return out, err
}

// pollEvery is how often Watch asks.
const pollEvery = 300 * time.Millisecond

// Watch yields the run with its log whenever it changed, until it has ended or ctx is done; the last value is the ended
// run. It asks again and again, because an open stream would hold up the shutdown of Caddy's admin endpoint.
func (c *Client) Watch(ctx context.Context, id string) iter.Seq2[backup.Run, error] {
	return func(yield func(backup.Run, error) bool) {
		var last backup.Run
		for {
			run, err := c.Run(ctx, id)
			if err != nil {
				yield(last, err)
				return
			}
			if !reflect.DeepEqual(run, last) && !yield(run, nil) || run.State.Done() {
				return
			}
			last = run
			select {
			case <-time.After(pollEvery):
			case <-ctx.Done():
				yield(last, context.Cause(ctx))
				return
			}
		}
	}
}

// Cancel asks a run to end.
func (c *Client) Cancel(ctx context.Context, id string) error {
	return c.post(ctx, join("runs", id, "cancel"), nil, nil)
}

// Repositories lists the repositories.
func (c *Client) Repositories(ctx context.Context) ([]backup.RepositoryStatus, error) {
	var out repositoryList
	err := c.get(ctx, "repositories", nil, &out)
	return out.Repositories, err
}

// InitRepository creates a repository.
func (c *Client) InitRepository(ctx context.Context, name string) (out backup.RepositoryStatus, err error) {
	err = c.post(ctx, join("repositories", cmp.Or(name, defaultRepository), "init"), nil, &out)
	return out, err
}

// Snapshots lists snapshots, newest first.
func (c *Client) Snapshots(ctx context.Context, q backup.SnapshotQuery) (backup.SnapshotList, error) {
	v := query("repository", q.Repository, "job", q.Job, "safety", string(q.Safety))
	v.Set("offset", strconv.Itoa(q.Offset))
	v.Set("per_page", strconv.Itoa(q.Limit))
	var out snapshotPage
	err := c.get(ctx, "snapshots", v, &out)
	return backup.SnapshotList{Total: out.Total, Snapshots: out.Snapshots, Safety: out.Safety, Damaged: out.Damaged}, err
}

// Snapshot finds one snapshot, with its parts and manifest.
func (c *Client) Snapshot(ctx context.Context, repository, id, job string) (out backup.Snapshot, err error) {
	err = c.get(ctx, join("snapshots", id), query("repository", repository, "job", job), &out)
	return out, err
}

// List lists a folder of a snapshot.
func (c *Client) List(ctx context.Context, repository, id, path string) ([]backup.Content, error) {
	var out contentList
	err := c.get(ctx, join("snapshots", id, "ls")+inSnapshot(path), where(repository, path), &out)
	return out.Entries, err
}

// Health is whether all is well; that it is not is no error.
func (c *Client) Health(ctx context.Context) (out backup.Health, err error) {
	resp, err := c.do(ctx, http.MethodGet, "health", nil, nil)
	if err != nil {
		return out, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK && resp.StatusCode != http.StatusServiceUnavailable {
		return out, answered(resp)
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	if err != nil {
		return out, fmt.Errorf("read answer: %w", err)
	}
	if e := (Error{Status: resp.StatusCode}); json.Unmarshal(body, &e) == nil && e.Message != "" {
		return out, &e // 503 because there is no service at all
	}
	return out, json.Unmarshal(body, &out)
}

// Open streams a file of a snapshot; the size is -1 when unknown. A broken transfer is an error of the reader, never a
// clean end.
func (c *Client) Open(ctx context.Context, repository, id, path string) (io.ReadCloser, int64, error) {
	resp, err := c.do(ctx, http.MethodGet, join("snapshots", id, "files")+inSnapshot(path), where(repository, path), nil)
	if err != nil {
		return nil, 0, err
	}
	if resp.StatusCode != http.StatusOK {
		defer resp.Body.Close()
		return nil, 0, answered(resp)
	}
	return &brokenOff{ReadCloser: resp.Body, ctx: ctx}, resp.ContentLength, nil
}
