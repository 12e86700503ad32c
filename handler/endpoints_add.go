package handler

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"

	"github.com/caddy-backup/caddy-backup/backup"
)

// JobKeeper adds jobs at run time, and removes those: the app, which can read their configuration.
type JobKeeper interface {
	// AddJob checks a job, keeps it, and has it in force when it returns. ErrInvalid; ErrConflict when there is one of its name,
	// or what it would save is saved already. After an error all is as before.
	AddJob(ctx context.Context, by string, q JobAddition) (JobChange, error)
	// RemoveJob takes out a job that was added so; its snapshots stay. ErrNotFound; ErrInvalid for one of the configuration.
	RemoveJob(ctx context.Context, by, job string) (JobChange, error)
	// AddedJob is a job as it was added, without what may be a secret. Errors are as those of RemoveJob.
	AddedJob(ctx context.Context, job string) (AddedJob, error)
}

// AddedJob is a job as it was added at run time.
type AddedJob struct {
	Name string `json:"name"`
	backup.AddedJob
	Job json.RawMessage `json:"job"` // as in the configuration of the app; what may be a secret is withheld
}

// JobAddition asks for a job to be added.
type JobAddition struct {
	Job     json.RawMessage `json:"job"`                // as in the configuration of the app, in JSON
	Replace bool            `json:"replace,omitempty"`  // one of the same name that was added at run time
	Force   bool            `json:"force,omitempty"`    // although something of it is saved by another job
	AllApps bool            `json:"all_apps,omitempty"` // a source of Django that names no app means all of them
}

// JobChange is a job that was added or removed, as it is or was, and what a person should know of it.
type JobChange struct {
	Job   backup.JobStatus `json:"job"`
	Notes []string         `json:"notes"`
}

func presentChange(x JobChange) JobChange {
	return JobChange{presentJob(x.Job), array(x.Notes)}
}

// keeper is who adds jobs; nobody does where not everything may be done: a job names programs and paths.
func (a *API) keeper() (JobKeeper, error) {
	if !a.Unlimited {
		return nil, fmt.Errorf("%w: jobs are added and removed by the command line only", ErrForbidden)
	}
	if a.Keeper != nil {
		if k := a.Keeper(); k != nil {
			return k, nil
		}
	}
	return nil, fmt.Errorf("the backup app is not running: %w", backup.ErrClosed)
}

func (a *API) addJob(c *call) error {
	var q JobAddition
	if err := c.decode(&q); err != nil {
		return err
	}
	k, err := a.keeper()
	if err != nil {
		return err
	}
	x, err := k.AddJob(c.r.Context(), c.by(), q)
	return c.answerAs(http.StatusCreated, presentChange(x), err)
}

func (a *API) removeJob(c *call) error {
	k, err := a.keeper()
	if err != nil {
		return err
	}
	x, err := k.RemoveJob(c.r.Context(), c.by(), c.r.PathValue("job"))
	return c.answer(presentChange(x), err)
}

func (a *API) addedJob(c *call) error {
	k, err := a.keeper()
	if err != nil {
		return err
	}
	x, err := k.AddedJob(c.r.Context(), c.r.PathValue("job"))
	toUTC(&x.Created, &x.Modified)
	return c.answer(x, err)
}

// AddJob adds a job at run time.
func (c *Client) AddJob(ctx context.Context, q JobAddition) (out JobChange, err error) {
	err = c.post(ctx, "jobs", q, &out)
	return out, err
}

// AddedJob is a job as it was added at run time, without what may be a secret.
func (c *Client) AddedJob(ctx context.Context, job string) (out AddedJob, err error) {
	err = c.get(ctx, join("jobs", job, "added"), nil, &out)
	return out, err
}

// RemoveJob removes a job that was added at run time; its snapshots stay.
func (c *Client) RemoveJob(ctx context.Context, job string) (out JobChange, err error) {
	err = c.post(ctx, join("jobs", job, "remove"), nil, &out)
	return out, err
}
