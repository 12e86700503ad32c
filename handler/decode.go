package handler

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/caddy-backup/caddy-backup/backup"
)

// maxBody is the largest body of a request, in bytes. Requests are a handful of short fields.
const maxBody = 64 << 10

// decode reads the body into v. No body leaves v as it is. The content type is asked for because a form of another site
// cannot send it, and unknown fields are refused so that a misspelt wish is not silently dropped.
func (c *call) decode(v any) error { return c.decodeUpTo(maxBody, v) }

// decodeUpTo is decode for a body of at most so many bytes.
func (c *call) decodeUpTo(limit int64, v any) error {
	body, err := io.ReadAll(http.MaxBytesReader(c.w, c.r.Body, limit))
	if _, ok := errors.AsType[*http.MaxBytesError](err); ok {
		return fmt.Errorf("%w: at most %d bytes", errTooLarge, limit)
	}
	if err != nil {
		return fmt.Errorf("%w: read request: %w", backup.ErrInvalid, err)
	}
	if len(body) == 0 {
		return nil
	}
	media, _, err := mime.ParseMediaType(c.r.Header.Get("Content-Type"))
	if err != nil || media != "application/json" {
		return fmt.Errorf("%w: send application/json", errMedia)
	}
	d := json.NewDecoder(bytes.NewReader(body))
	d.DisallowUnknownFields()
	if err := d.Decode(v); err != nil {
		return fmt.Errorf("%w request body: %w", backup.ErrInvalid, err)
	}
	if _, err := d.Token(); err != io.EOF {
		return fmt.Errorf("%w request body: more than one JSON value", backup.ErrInvalid)
	}
	return nil
}

// form reads the fields of a form that a page sent; without a body there are none.
func (c *call) form() (url.Values, error) {
	c.r.Body = http.MaxBytesReader(c.w, c.r.Body, maxBody)
	err := c.r.ParseForm()
	if _, ok := errors.AsType[*http.MaxBytesError](err); ok {
		return nil, fmt.Errorf("%w: at most %d bytes", errTooLarge, maxBody)
	}
	if err != nil {
		return nil, fmt.Errorf("%w form: %w", backup.ErrInvalid, err)
	}
	return c.r.PostForm, nil
}

// maxNumber bounds the numbers in queries, so that page times per_page cannot overflow.
const maxNumber = 1_000_000

// number reads a whole number from the query; without it, it is def.
func (c *call) number(name string, def, least int) (int, error) {
	s := c.r.URL.Query().Get(name)
	if s == "" {
		return def, nil
	}
	n, err := strconv.Atoi(s)
	if err != nil || n < least || n > maxNumber {
		return 0, fmt.Errorf("%w %s: %q is not a number from %d to %d", backup.ErrInvalid, name, s, least, maxNumber)
	}
	return n, nil
}

// query is a parameter of the URL.
func (c *call) query(name string) string { return c.r.URL.Query().Get(name) }

// repository is the one that the query names, else the one that its job writes to; "" is the one named default, or the only one.
func (c *call) repository() string {
	if name, job := c.query("repository"), c.query("job"); name != "" || job == "" {
		return name
	} else if j, err := c.service.Job(c.r.Context(), job); err == nil {
		return j.Repository
	}
	return ""
}

// path is the {path...} of the pattern, from the root of the snapshot; with ?relative=true it is one from the folder of
// the snapshot's job, as a person types it.
func (c *call) path() string {
	if c.query("relative") == "true" {
		return c.r.PathValue("path")
	}
	return "/" + c.r.PathValue("path")
}

// id is the {id} of the pattern.
func (c *call) id() string { return c.r.PathValue("id") }

const latest = "latest"

// snapshot is the one that the address names; "latest" is the one of job, and in a repository of several jobs it means
// nothing without one.
func (c *call) snapshot(ctx context.Context, repository, job string) (backup.Snapshot, error) {
	if c.id() == latest && job == "" {
		if err := c.needsJob(repository); err != nil {
			return backup.Snapshot{}, err
		}
	}
	return c.service.Snapshot(ctx, repository, c.id(), job)
}

// snapshotID is the ID of that snapshot; only for "latest" the repository is asked.
func (c *call) snapshotID(repository, job string) (string, error) {
	if c.id() != latest {
		return c.id(), nil
	}
	s, err := c.snapshot(c.r.Context(), repository, job)
	return s.ID, err
}

// needsJob is an error when several jobs write to a repository; "" is the one named default, or the only one.
func (c *call) needsJob(repository string) error {
	jobs, err1 := c.service.Jobs(c.r.Context())
	repositories, err2 := c.service.Repositories(c.r.Context())
	if err := errors.Join(err1, err2); err != nil {
		return err
	}
	if repository = cmp.Or(repository, defaultRepository); len(repositories) == 1 {
		repository = repositories[0].Name
	}
	var names []string
	for _, j := range jobs {
		if j.Repository == repository {
			names = append(names, j.Name)
		}
	}
	if len(names) < 2 {
		return nil
	}
	return fmt.Errorf("%w: latest of which job? Add job= (on the command line --job), one of: %s", backup.ErrInvalid,
		strings.Join(names, ", "))
}
