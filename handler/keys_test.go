package handler

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/caddy-backup/caddy-backup/backup"
	"github.com/caddy-backup/caddy-backup/backup/backuptest"
	"github.com/caddy-backup/caddy-backup/repo"
)

const canaryPassword = "canary-9d2e-new-password"

// TestClientOfKeys changes the keys over the API; the new password is in no answer and in no log.
func TestClientOfKeys(t *testing.T) {
	var log logged // a run that has ended may still write
	env := newEnv(t, func(c *backup.Config) {
		c.Logger = slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	})
	var answers recorder
	c := &Client{Base: "http://standalone/", HTTP: &http.Client{Transport: InProcess(answers.tap(adminAPI(env.Service)))}}
	ctx := t.Context()
	done := func(run backup.Run, err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		if run = wait(t, c, run.ID); run.State != backup.StateOK {
			t.Fatalf("%s: %s", run.State, run.Error)
		}
	}
	env.Backed(t, "shop")
	done(c.AddKey(ctx, "", []byte("spare")))
	keys, err := c.Keys(ctx, "default")
	if err != nil || len(keys) != 2 {
		t.Fatal(keys, err)
	}
	for _, k := range keys {
		if !k.Current {
			done(c.RemoveKey(ctx, "", k.ID.String()))
		}
	}
	done(c.ChangePassword(ctx, "", []byte(canaryPassword)))
	if _, err := repo.Open(ctx, env.Storage, []byte(canaryPassword), repo.Options{}); err != nil {
		t.Error(err)
	}
	if _, err := c.AddKey(ctx, "", nil); !errors.Is(err, backup.ErrInvalid) {
		t.Error(err)
	}
	locks, err := c.Locks(ctx, "")
	if err != nil || len(locks) != 0 {
		t.Error(locks, err)
	}
	unlocked, err := c.Unlock(ctx, "", true)
	if err != nil || unlocked.Kept == nil || unlocked.Removed == nil {
		t.Error(unlocked, err)
	}
	kit, err := c.Kit(ctx, "default")
	if err != nil || len(kit.Repositories) != 1 || kit.Repositories[0].Jobs[0].Name != "shop" {
		t.Error(kit, err)
	}
	x, err := c.Doctor(ctx, backup.DoctorRequest{})
	if err != nil || x.Level == backup.LevelError {
		t.Error(x, err)
	}
	if strings.Contains(answers.String(), canaryPassword) || strings.Contains(log.String(), canaryPassword) || answers.Len() == 0 {
		t.Errorf("the password is in the answers or in the log, of %d and %d bytes", answers.Len(), len(log.String()))
	}
}

// recorder keeps what a handler answers.
type recorder struct{ bytes.Buffer }

func (r *recorder) tap(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		rec := httptest.NewRecorder()
		h.ServeHTTP(rec, q)
		fmt.Fprint(r, q.URL, rec.Header())
		r.Write(rec.Body.Bytes())
		for name, values := range rec.Header() {
			w.Header()[name] = values
		}
		w.WriteHeader(rec.Code)
		w.Write(rec.Body.Bytes())
	})
}

// TestKeysAreNotForThePage: not even admins touch keys there, nor get the kit with its paths.
func TestKeysAreNotForThePage(t *testing.T) {
	env := newEnv(t)
	server := mustSite(t, env.Service, "")
	for _, route := range []string{"GET repositories/default/keys", "POST repositories/default/keys", "POST repositories/default/passwd",
		"POST repositories/default/keys/ab/remove", "GET kit"} {
		method, path, _ := strings.Cut(route, " ")
		if a := as(t, "anna", method, server.URL+"/api/"+path, `{"password": "`+canaryPassword+`"}`); a.status != 403 ||
			strings.Contains(a.body, canaryPassword) {
			t.Errorf("%s: %d %s", route, a.status, a.body)
		}
	}
	if _, err := repo.Open(t.Context(), env.Storage, []byte(backuptest.Password), repo.Options{}); err != nil {
		t.Error(err)
	}
}

// TestKitOnThePage: who may, confirms with a button that the kit was saved; then nobody is asked any more.
func TestKitOnThePage(t *testing.T) {
	env := newEnv(t, func(c *backup.Config) {
		c.DataDir = t.TempDir()
		c.Repositories = append(c.Repositories, backup.RepositoryConfig{Name: "own", Storage: located{"/srv/own", newMemory()}})
	})
	if _, err := env.InitRepository(t.Context(), "tester", "own"); err != nil {
		t.Fatal(err)
	}
	server := mustSite(t, env.Service, "")
	const asked, button = "Save the recovery kit", `action="./repositories/own/kit"`
	for user, may := range map[string]bool{"anna": true, "otto": false, "vera": false} {
		body := get(t, user, server.URL+"/").body
		if strings.Count(body, asked) != 1 || strings.Contains(body, button) != may {
			t.Errorf("%s: asked %d times, button %v", user, strings.Count(body, asked), strings.Contains(body, button))
		}
	}
	if a := as(t, "otto", "POST", server.URL+"/repositories/own/kit", ""); a.status != 403 {
		t.Errorf("an operator confirms: %d", a.status)
	}
	a := as(t, "anna", "POST", server.URL+"/repositories/own/kit", "")
	if a.status != http.StatusSeeOther || a.header.Get("Location") != "../../" {
		t.Errorf("%d %s", a.status, a.header.Get("Location"))
	}
	if body := get(t, "anna", server.URL+"/").body; strings.Contains(body, asked) {
		t.Error("still asked for")
	}
	if a := as(t, "anna", "POST", server.URL+"/api/repositories/own/kit/confirm", ""); a.status != 204 {
		t.Errorf("by the API: %d %s", a.status, a.body)
	}
}
