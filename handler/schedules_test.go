package handler

import (
	"strings"
	"testing"
	"time"

	"github.com/caddy-backup/caddy-backup/backup"
)

// TestSchedulesOnPages looks for schedules, next runs and overdue jobs on the pages and in the API.
func TestSchedulesOnPages(t *testing.T) {
	daily, err := backup.ParseSchedule("daily 03:15")
	if err != nil {
		t.Fatal(err)
	}
	env := newEnv(t, func(c *backup.Config) {
		c.Automatic, c.Jobs[0].Schedule = true, daily
		c.Repositories[0].Prune = backup.PrunePlan{Schedule: daily}
	})
	server := mustSite(t, env.Service, "")
	needs(t, "before the first", get(t, "vera", server.URL+"/").body, "Next run", "daily 03:15", "prune daily 03:15 · next", "!overdue")
	needs(t, "api", get(t, "vera", server.URL+"/api/jobs").body, `"schedule":"daily 03:15"`, `T03:15:00Z"`, "!overdue_since")
	needs(t, "api", get(t, "vera", server.URL+"/api/repositories").body, `"planned":[{"kind":"prune","schedule":"daily 03:15","next":"`)

	config := env.Config
	config.Jobs = append([]backup.Job(nil), config.Jobs...)
	config.Jobs[0].OverdueAfter = time.Millisecond
	detach, err := env.Attach(config)
	if err != nil {
		t.Fatal(err)
	}
	defer detach()
	env.Backed(t, "shop")
	time.Sleep(2 * time.Millisecond)
	for _, path := range []string{"/", "/jobs/shop"} {
		needs(t, path, get(t, "vera", server.URL+path).body, `<span class="state overdue">overdue</span>`, "there should have been a good backup by")
	}
	for _, path := range []string{"/health", "/api/health"} {
		if a := get(t, "vera", server.URL+path); a.status != 503 || !strings.Contains(a.body, `"ok":false`) || !strings.Contains(a.body, "job shop: overdue since ") {
			t.Errorf("%s is %d %s", path, a.status, a.body)
		}
	}
	for _, path := range []string{"/api/jobs", "/api/jobs/shop"} {
		needs(t, path, get(t, "vera", server.URL+path).body, `"overdue_since":"20`)
	}
}
