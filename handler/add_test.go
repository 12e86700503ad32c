package handler

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/caddy-backup/caddy-backup/backup"
)

// keeper remembers what it was asked for.
type keeper struct{ asked []string }

var added = &backup.AddedJob{By: "anna", Created: time.Now().Add(-time.Hour), Modified: time.Now()}

func (k *keeper) AddJob(_ context.Context, by string, q JobAddition) (JobChange, error) {
	k.asked = append(k.asked, fmt.Sprintf("%s adds %s, %t %t %t", by, q.Job, q.Replace, q.Force, q.AllApps))
	if strings.Contains(string(q.Job), "taken") {
		return JobChange{}, fmt.Errorf("%w: there is one", backup.ErrConflict)
	}
	return JobChange{Job: backup.JobStatus{Name: "shop", Added: added}, Notes: []string{"mind the gap"}}, nil
}

func (k *keeper) RemoveJob(_ context.Context, by, job string) (JobChange, error) {
	k.asked = append(k.asked, by+" removes "+job)
	return JobChange{}, fmt.Errorf("%w: no job", backup.ErrNotFound)
}

func (k *keeper) AddedJob(_ context.Context, job string) (AddedJob, error) {
	return AddedJob{Name: job, AddedJob: *added, Job: json.RawMessage(`{"name":"shop"}`)}, nil
}

// TestClientAddsJobs adds and removes by the client, where that can be done, and nowhere else.
func TestClientAddsJobs(t *testing.T) {
	env, k := newEnv(t), new(keeper)
	api := adminAPI(env.Service)
	api.Keeper = func() JobKeeper { return k }
	server := httptest.NewServer(http.StripPrefix("/backup", api))
	defer server.Close()
	c := &Client{Base: server.URL + "/backup/", HTTP: server.Client()}
	x, err := c.AddJob(t.Context(), JobAddition{Job: json.RawMessage(`{"name":"shop"}`), Force: true})
	if err != nil || x.Job.Name != "shop" || len(x.Notes) != 1 || x.Job.Added.Created.Location() != time.UTC {
		t.Errorf("%+v, %v", x, err)
	}
	if _, err := c.AddJob(t.Context(), JobAddition{Job: json.RawMessage(`"taken"`)}); !isError(err, backup.ErrConflict, "there is one") {
		t.Error(err)
	}
	if _, err := c.RemoveJob(t.Context(), evilJob); !isError(err, backup.ErrNotFound, "no job") {
		t.Error(err)
	}
	shown, err := c.AddedJob(t.Context(), "shop")
	if err != nil || shown.Name != "shop" || shown.By != "anna" || shown.Created.Location() != time.UTC || string(shown.Job) != `{"name":"shop"}` {
		t.Errorf("%+v, %v", shown, err)
	}
	want := []string{`command line adds {"name":"shop"}, false true false`, `command line adds "taken", false false false`, "command line removes " + evilJob}
	if fmt.Sprint(k.asked) != fmt.Sprint(want) {
		t.Errorf("asked: %q", k.asked)
	}

	api.Unlimited = false
	if _, err := c.AddJob(t.Context(), JobAddition{Job: json.RawMessage(`{}`)}); !isError(err, ErrForbidden, "command line only") {
		t.Error(err)
	}
	if _, err := c.RemoveJob(t.Context(), "shop"); !isError(err, ErrForbidden, "command line only") {
		t.Error(err)
	}
	if _, err := c.AddedJob(t.Context(), "shop"); !isError(err, ErrForbidden, "command line only") {
		t.Error(err)
	}
	if len(k.asked) != len(want) {
		t.Errorf("asked: %q", k.asked)
	}
}

func isError(err, is error, text string) bool {
	return err != nil && strings.Contains(err.Error(), text) && errorOf(err).Is(is)
}

// TestPagesOfAddedJobs tells where a job comes from, and what is wrong with it.
func TestPagesOfAddedJobs(t *testing.T) {
	env := newEnv(t, func(c *backup.Config) { c.Jobs[0].Added = added })
	for _, page := range []string{"/", "/jobs/shop"} {
		needs(t, page, get(t, "vera", mustSite(t, env.Service, "").URL+page).body, "Added at run time", "by anna", "changed", "!cannot be loaded")
	}
	env = newEnv(t, func(c *backup.Config) {
		c.Jobs[0].Added, c.Jobs[0].Broken = &backup.AddedJob{By: evil}, "no notifier <ops>"
	})
	body := get(t, "vera", mustSite(t, env.Service, "").URL+"/jobs/shop").body
	needs(t, "broken", body, "cannot be loaded any more", "no notifier &lt;ops&gt;", "!changed", "!<img src=x")
}
