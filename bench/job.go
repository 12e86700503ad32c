package main

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/certmagic"

	"github.com/caddy-backup/caddy-backup/backup"
	sources "github.com/caddy-backup/caddy-backup/dump"
	"github.com/caddy-backup/caddy-backup/storage"
)

// job is our side of a live dump: a Service that runs a job once, as Caddy would, with its history beside the repository.
func job(ctx context.Context, dir, dsn string) error {
	source := &sources.Postgres{DSN: dsn}
	if err := source.Provision(caddy.Context{}); err != nil {
		return err
	}
	if err := source.Validate(); err != nil {
		return err
	}
	beside, err := os.MkdirTemp(filepath.Dir(dir), "data")
	if err != nil {
		return err
	}
	defer os.RemoveAll(beside)
	s := backup.New()
	detach, err := s.Attach(backup.Config{
		Host: "bench", Zone: time.UTC,
		Repositories: []backup.RepositoryConfig{{Name: "default", Storage: storage.NewLocal(dir), Password: []byte(password)}},
		Jobs:         []backup.Job{{Name: "bench", Sources: []backup.NamedSource{{Name: "db", Kind: "postgres", Source: source}}}},
		Store:        &certmagic.FileStorage{Path: filepath.Join(beside, "storage")},
		DataDir:      beside,
		Logger:       slog.New(slog.DiscardHandler),
	})
	if err != nil {
		return err
	}
	defer s.Close(context.WithoutCancel(ctx))
	defer detach()
	run, err := s.Backup(ctx, "bench", "bench")
	if err != nil {
		return err
	}
	for _, err := range s.Watch(ctx, run.ID) {
		if err != nil {
			return err
		}
	}
	if run, err = s.Run(ctx, run.ID); err == nil && run.State != backup.StateOK {
		err = fmt.Errorf("the run is %s: %s", run.State, run.Error)
	}
	return err
}
