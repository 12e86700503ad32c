package handler

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"

	"github.com/caddy-backup/caddy-backup/backup"
	"github.com/caddy-backup/caddy-backup/repo"
)

func (a *API) stats(c *call) error {
	stats, err := c.service.Stats(c.r.Context(), c.repositoryName())
	return c.answer(stats, err)
}

// diffLine is a line of the answer of diff: a change, or at the end the summary.
type diffLine struct {
	*repo.Change
	Summary *repo.DiffSummary `json:"summary,omitempty"`
}

// diff answers one JSON object a line, as the comparison goes; the last one is the summary. What goes wrong once the answer
// has begun breaks the connection: an answer without a summary is none.
func (a *API) diff(c *call) error {
	id, err := c.snapshotID(c.repository(), c.query("job"))
	if err != nil {
		return err
	}
	begun := false
	enc := json.NewEncoder(c.w)
	if !a.Unlimited { // one comparison goes on at a time; only on the command line it may be looked through at leisure
		enc = json.NewEncoder(newImpatient(c.w, maxWaiting))
	}
	line := func(l diffLine) error {
		if !begun {
			begun = true
			h := c.w.Header()
			h.Set("Content-Type", "application/x-ndjson")
			h.Set("Cache-Control", "no-store")
			h.Set("X-Content-Type-Options", "nosniff")
		}
		return enc.Encode(l)
	}
	sum, err := c.service.Diff(c.r.Context(), c.repository(), id, c.query("with"),
		func(change repo.Change) error { return line(diffLine{Change: &change}) })
	if err == nil {
		err = line(diffLine{Summary: &sum})
	}
	if err != nil && begun {
		if c.r.Context().Err() == nil {
			a.log().Error("a comparison broke off", "path", c.r.URL.Path, "user", c.caller.Name, "error", err)
		}
		panic(http.ErrAbortHandler)
	}
	return err
}

// Stats counts what is in a repository and what it takes.
func (c *Client) Stats(ctx context.Context, repository string) (out repo.RepositoryStats, err error) {
	err = c.get(ctx, join("repositories", cmp.Or(repository, defaultRepository), "stats"), nil, &out)
	return out, err
}

// Diff tells what changed from one snapshot to another.
func (c *Client) Diff(ctx context.Context, repository, from, to string, tell func(repo.Change) error) (sum repo.DiffSummary, err error) {
	resp, err := c.do(ctx, http.MethodGet, join("snapshots", from, "diff"), query("repository", repository, "with", to), nil)
	if err != nil {
		return sum, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return sum, answered(resp)
	}
	for dec := json.NewDecoder(resp.Body); ; {
		var l diffLine
		switch err := dec.Decode(&l); {
		case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
			return sum, fmt.Errorf("the server broke off; its log says why, and maybe the stored data are damaged: run caddy backup check")
		case err != nil:
			return sum, fmt.Errorf("answer of the server: %w", err)
		case l.Summary != nil:
			return *l.Summary, nil
		case l.Change == nil:
			return sum, fmt.Errorf("%w answer of the server: a line says nothing", backup.ErrInvalid)
		}
		if err := tell(*l.Change); err != nil {
			return sum, err
		}
	}
}
