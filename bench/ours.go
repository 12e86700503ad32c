package main

import (
	"context"
	"fmt"
	"os"
	"time"

	"github.com/caddy-backup/caddy-backup/repo"
	"github.com/caddy-backup/caddy-backup/storage"
)

// password opens the repositories of both sides.
const password = "bench"

// ours is our side, run as a process of its own like restic's: it opens the repository with the password, as any
// command does, and takes the steps of a backup run.
func ours(ctx context.Context, verb, dir string) error {
	local := storage.NewLocal(dir)
	switch verb {
	case "idle":
		return nil
	case "init":
		_, err := repo.Init(ctx, local, []byte(password), repo.Options{})
		return err
	}
	r, err := repo.Open(ctx, local, []byte(password), repo.Options{})
	if err != nil {
		return err
	}
	lock, err := r.Lock(ctx, verb == "forget" || verb == "prune")
	if err != nil {
		return err
	}
	defer lock.Unlock()
	if verb == "prune" {
		_, err := r.Prune(ctx, lock, repo.PruneOptions{MaxUnused: repo.NoUnused})
		return err
	}
	if err := r.LoadIndex(lock.Context()); err != nil {
		return err
	}
	switch verb {
	case "backup":
		return backUp(r, lock)
	case "forget":
		return forget(lock.Context(), r, lock)
	case "restore":
		return restore(lock.Context(), r)
	}
	return fmt.Errorf("unknown: %s", verb)
}

func backUp(r *repo.Repository, lock *repo.Lock) error {
	w, err := r.NewWriter(lock)
	if err != nil {
		return err
	}
	defer w.Abort()
	now := time.Now()
	f, err := w.Root().Create(repo.Node{Name: "dump.sql", Mode: 0o600, ModTime: now, AccessTime: now, ChangeTime: now})
	if err != nil {
		return err
	}
	if _, err := f.ReadFrom(os.Stdin); err != nil {
		return err
	}
	if err := f.Close(); err != nil {
		return err
	}
	if _, err := f.Sum(); err != nil {
		return err
	}
	_, err = w.Commit(repo.Snapshot{Time: now, Paths: []string{"/dump.sql"}, Hostname: "bench"})
	return err
}

// forget leaves the last dumps of the series.
func forget(ctx context.Context, r *repo.Repository, lock *repo.Lock) error {
	all, err := r.Snapshots(ctx)
	if err != nil {
		return err
	}
	var ids []repo.ID
	for _, s := range all[min(dumpsKept, len(all)):] {
		ids = append(ids, s.ID)
	}
	_, err = r.Forget(ctx, lock, ids)
	return err
}

func restore(ctx context.Context, r *repo.Repository) error {
	s, err := r.FindSnapshot(ctx, "latest", repo.SnapshotFilter{})
	if err != nil {
		return err
	}
	n, err := r.Lookup(ctx, s.Tree, "dump.sql")
	if err != nil {
		return err
	}
	f, err := r.OpenFile(ctx, n)
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = f.WriteTo(os.Stdout)
	return err
}
