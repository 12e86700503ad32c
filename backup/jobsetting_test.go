package backup_test

import (
	"context"
	"errors"
	"io/fs"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/caddy-backup/caddy-backup/backup"
	"github.com/caddy-backup/caddy-backup/backup/backuptest"
)

// TestJobSettings keeps settings of jobs: in the order in which they came, of one host, with what is damaged among them.
func TestJobSettings(t *testing.T) {
	ctx, store := t.Context(), new(backuptest.Store)
	x := backup.Config{Store: store, Host: "shop server"}.JobSettings()
	if list, err := x.List(ctx); err != nil || len(list) != 0 {
		t.Fatalf("at first: %v, %v", list, err)
	}
	at := time.Date(2026, 3, 1, 2, 0, 0, 0, time.UTC)
	for i, name := range []string{"zoo", "blog", "shop"} {
		s := backup.JobSetting{Name: name, Job: []byte(`{"name":"` + name + `"}`)}
		s.By, s.Created, s.Modified = "anna", at.Add(time.Duration(i)*time.Minute), at.Add(time.Hour)
		if err := x.Put(ctx, s); err != nil {
			t.Fatal(err)
		}
	}
	for key, text := range map[string]string{"cut": `{"name":"cu`, "other": `{"name":"shop","job":{}}`, "empty": `{"name":"empty"}`} {
		if err := store.Store(ctx, "backup/settings/shop_server/jobs/"+key+".json", []byte(text)); err != nil {
			t.Fatal(err)
		}
	}
	list, err := x.List(ctx)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, s := range list {
		names = append(names, s.Name)
		if damaged := !slices.Contains([]string{"zoo", "blog", "shop"}, s.Name); damaged != (s.Damaged != nil) {
			t.Errorf("%s: %v", s.Name, s.Damaged)
		}
	}
	if want := "cut empty other zoo blog shop"; strings.Join(names, " ") != want {
		t.Errorf("order: %v", names)
	}
	if s := list[3]; s.By != "anna" || !s.Created.Equal(at) || string(s.Job) != `{"name":"zoo"}` {
		t.Errorf("%+v", s)
	}
	if other, err := (backup.Config{Store: store, Host: "blog"}).JobSettings().List(ctx); err != nil || len(other) != 0 {
		t.Errorf("of another host: %v, %v", other, err)
	}
	for range 2 {
		if err := x.Delete(ctx, "cut"); err != nil {
			t.Error(err)
		}
	}
	if list, _ = x.List(ctx); len(list) != 5 {
		t.Errorf("after the removal: %+v", list)
	}
}

// A storage that cannot be read is never taken for one that has nothing.
func TestJobSettingsNotReadable(t *testing.T) {
	away := errors.New("the storage is away")
	store := new(backuptest.Store)
	store.Fail(away)
	x := backup.Config{Store: store, Host: "shop"}.JobSettings()
	list, err1 := x.List(t.Context())
	err2 := x.Put(t.Context(), backup.JobSetting{Name: "shop"})
	err3 := x.Delete(t.Context(), "shop")
	for _, err := range []error{err1, err2, err3} {
		if !errors.Is(err, away) {
			t.Error(list, err)
		}
	}
}

type memory = backuptest.Store

// denying lets nobody read what is not the user's.
type denying struct{ memory }

func (s *denying) Load(ctx context.Context, key string) ([]byte, error) {
	if strings.Contains(key, "theirs") {
		return nil, &fs.PathError{Op: "open", Path: key, Err: fs.ErrPermission}
	}
	return s.memory.Load(ctx, key)
}

// One file that belongs to another user spoils nothing but itself.
func TestJobSettingsDenied(t *testing.T) {
	x := backup.Config{Store: new(denying), Host: "shop"}.JobSettings()
	for _, name := range []string{"theirs", "ours"} {
		if err := x.Put(t.Context(), backup.JobSetting{Name: name, Job: []byte("{}")}); err != nil {
			t.Fatal(err)
		}
	}
	list, err := x.List(t.Context())
	if err != nil || len(list) != 2 || list[0].Damaged != nil || !errors.Is(list[1].Damaged, fs.ErrPermission) {
		t.Errorf("%+v, %v", list, err)
	}
}

// TestHealthOfWhatIsNotLoaded tells of a job that cannot be loaded, and of what the front could not do.
func TestHealthOfWhatIsNotLoaded(t *testing.T) {
	env := backuptest.New(t, func(c *backup.Config) {
		c.Jobs[0].Broken, c.Jobs[0].Added = "there is no notifier ops", &backup.AddedJob{By: "anna"}
		c.Trouble = "jobs that were added at run time are not known"
	})
	env.Backed(t, "shop")
	h := env.Health(t.Context())
	want := []string{"jobs that were added at run time are not known", "job shop: cannot be loaded: there is no notifier ops"}
	if h.OK || !slices.Equal(h.Reasons, want) {
		t.Errorf("%+v", h)
	}
	j, err := env.Job(t.Context(), "shop")
	if err != nil || j.Broken == "" || j.Added == nil || j.Added.By != "anna" {
		t.Errorf("%+v, %v", j, err)
	}
}
