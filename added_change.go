package caddybackup

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"go.uber.org/zap"

	"github.com/caddy-backup/caddy-backup/backup"
	"github.com/caddy-backup/caddy-backup/handler"
)

// AddJob implements handler.JobKeeper. The job is loaded and asked before anything is written; then it is written, and read back
// from the storage by all who work with it.
func (a *App) AddJob(ctx context.Context, by string, q handler.JobAddition) (x handler.JobChange, err error) {
	j, err := decodeJob(q.Job)
	if err != nil {
		return x, err
	}
	setting := backup.JobSetting{Name: j.Name}
	if setting.Job, err = json.Marshal(j); err != nil {
		return x, err
	}
	if err := a.refresh(ctx); err != nil { // what another process added counts, too
		return x, err
	}
	if err := a.nameIsFree(ctx, setting.Name, q.Replace); err != nil {
		return x, err
	}
	if x.Notes, err = a.examine(ctx, setting, q); err != nil {
		return x, err
	}
	ctx = context.WithoutCancel(ctx) // from here on all or nothing
	err = a.now.settings().Alone(ctx, func() error { return a.change(ctx, by, setting, q.Replace) })
	if err != nil {
		return x, err
	}
	a.service.news.tell()
	a.log.Info("job added at run time", zap.String("job", setting.Name), zap.String("by", by))
	x.Job, err = a.service.Job(ctx, setting.Name)
	if errors.Is(err, backup.ErrNotFound) {
		err = fmt.Errorf("job %s was added, and is about to come into force: another configuration came in the same moment: %w", setting.Name, backup.ErrClosed)
	}
	return x, err
}

// decodeJob reads a job from its JSON, strictly: a wish that is misspelt is not dropped.
func decodeJob(raw json.RawMessage) (*Job, error) {
	j := new(Job)
	d := json.NewDecoder(bytes.NewReader(raw))
	d.DisallowUnknownFields()
	if err := d.Decode(j); err != nil {
		return nil, fmt.Errorf("%w job: %w", backup.ErrInvalid, err)
	}
	return j, nil
}

// nameIsFree refuses the name of a job that there is.
func (a *App) nameIsFree(ctx context.Context, name string, replace bool) error {
	if err := checkName("job", name); err != nil {
		return fmt.Errorf("%w: %w", backup.ErrInvalid, err)
	}
	if a.configured(name) {
		return fmt.Errorf("%w: there is a job %s in the configuration: change it there, or choose another name", backup.ErrConflict, name)
	}
	before, err := a.setting(ctx, name)
	if err == nil && before.Name != "" && !replace {
		err = fmt.Errorf("%w: there is a job %s already, added at run time: choose another name, or replace it (--replace)",
			backup.ErrConflict, name)
	}
	return err
}

// setting is what is stored of a job; the zero one when there is nothing.
func (a *App) setting(ctx context.Context, name string) (backup.JobSetting, error) {
	list, err := a.now.settings().List(ctx)
	if i := slices.IndexFunc(list, func(s backup.JobSetting) bool { return s.Name == name }); i >= 0 {
		return list[i], err
	}
	return backup.JobSetting{}, err
}

// change writes a job, and has it in force; or leaves all as it was.
func (a *App) change(ctx context.Context, by string, s backup.JobSetting, replace bool) error {
	if err := a.nameIsFree(ctx, s.Name, replace); err != nil { // somebody else may have been quicker
		return err
	}
	before, err := a.setting(ctx, s.Name)
	if err != nil {
		return err
	}
	s.By, s.Created, s.Modified = by, before.Created, time.Now().UTC()
	if s.Created.IsZero() {
		s.Created = s.Modified
	}
	settings := a.now.settings()
	if err := settings.Put(ctx, s); err != nil {
		return err
	}
	err = a.refresh(ctx)
	if err == nil {
		err = a.brokenness(s.Name)
	}
	if err == nil {
		return nil
	}
	if before.Name != "" {
		err = errors.Join(err, settings.Put(ctx, before))
	} else {
		err = errors.Join(err, settings.Delete(ctx, s.Name))
	}
	_ = a.refresh(ctx) // what it cannot do now, the next look does
	return fmt.Errorf("job %s was not added: %w", s.Name, err)
}

// brokenness is an error when an added job was not loaded.
func (a *App) brokenness(name string) error {
	a.now.mu.Lock()
	defer a.now.mu.Unlock()
	for _, x := range a.now.added {
		if x.setting.Name == name && x.job.Broken != "" {
			return errors.New(x.job.Broken)
		}
	}
	return nil
}

// RemoveJob implements handler.JobKeeper.
func (a *App) RemoveJob(ctx context.Context, by, name string) (x handler.JobChange, err error) {
	if err := a.refresh(ctx); err != nil { // another process may have added it just now
		return x, err
	}
	s, err := a.setting(ctx, name)
	if err != nil {
		return x, err
	}
	if s.Name == "" {
		return x, a.notAdded(name)
	}
	if x.Job, err = a.service.Job(ctx, name); err != nil {
		return x, err
	}
	ctx = context.WithoutCancel(ctx)
	settings := a.now.settings()
	if err = settings.Alone(ctx, func() error { return settings.Delete(ctx, name) }); err != nil {
		return x, err
	}
	a.service.news.tell()
	if err = a.refresh(ctx); err != nil {
		return x, fmt.Errorf("job %s is removed from Caddy's storage, but goes on here until the next look, within a minute: %w", name, err)
	}
	a.log.Info("job that was added at run time removed", zap.String("job", name), zap.String("by", by))
	if a.configured(name) {
		x.Notes = append(x.Notes, "the job of this name in the configuration stays, and counts as before")
		return x, nil
	}
	x.Notes = append(x.Notes, "its snapshots stay in repository "+x.Job.Repository+"; no retention touches them any more")
	if x.Job.Running != nil {
		x.Notes = append(x.Notes, "its backup that is going on, run "+x.Job.Running.ID+", goes on to its end")
	}
	return x, nil
}

// notAdded says where a job is to be removed that was not added at run time.
func (a *App) notAdded(name string) error {
	if a.configured(name) {
		return fmt.Errorf("%w: job %s was not added at run time: take it out of the configuration (job %s in the Caddyfile), and reload Caddy",
			backup.ErrInvalid, name, name)
	}
	return fmt.Errorf("%w: no job %s was added at run time", backup.ErrNotFound, name)
}

// Interface guard
var _ handler.JobKeeper = (*App)(nil)
