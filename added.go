package caddybackup

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/caddyserver/caddy/v2"
	"go.uber.org/zap"

	"github.com/caddy-backup/caddy-backup/backup"
)

// Jobs that are added at run time live in Caddy's storage. The storage rules: what is added is written there first, and then
// every app, of this process and of others, brings its jobs up to date with it. So there is one way, at the start, after a
// change of ours, and after one of another process.

// lookEvery is how often an app looks for jobs that another process added or removed.
const lookEvery = time.Minute

// inForce is what an app has given to the Service: the jobs of its configuration, and those that were added.
type inForce struct {
	turn sync.Mutex // one at a time reads the storage and brings the jobs up to date

	settings func() backup.JobSettings // always the same, so that calls that the storage does not answer do not pile up

	mu      sync.Mutex // guards the rest
	added   []*addedJob
	trouble string        // why the storage could not be read
	jobs    []backup.Job  // all of them
	detach  func()        // undoes the last Attach; nil when there is nothing to undo
	ended   chan struct{} // closed by Stop
}

// addedJob is one that was added at run time.
type addedJob struct {
	setting backup.JobSetting
	job     backup.Job
	unload  func()
}

// refresh brings the jobs in force up to date with the storage. After an error they are as they were.
func (a *App) refresh(ctx context.Context) error {
	a.now.turn.Lock()
	defer a.now.turn.Unlock()
	settings, err := a.now.settings().List(ctx)
	if err != nil {
		return err
	}
	a.service.remember(a.Host, settings)
	return a.put(settings, "")
}

// first puts the jobs in force for the first time. Whatever the storage holds, or if it cannot be read now, it must not keep
// the jobs of the configuration from running. When it cannot be read, those count that were there when it last could.
func (a *App) first() error {
	a.now.turn.Lock()
	defer a.now.turn.Unlock()
	settings, err := a.now.settings().List(context.Background())
	if err != nil {
		a.log.Error("cannot read which jobs were added at run time; looking again every minute", zap.Error(err))
		return a.put(a.service.remembered(a.Host), "jobs that were added at run time are not known: "+err.Error())
	}
	a.service.remember(a.Host, settings)
	if err = a.put(settings, ""); err == nil || len(settings) == 0 {
		return err
	}
	a.log.Error("jobs that were added at run time cannot be put in force; trying again every minute", zap.Error(err))
	return a.put(nil, "jobs that were added at run time are not in force: "+err.Error())
}

// put has the Service work with the configuration's jobs and these, unless it does so already.
func (a *App) put(settings []backup.JobSetting, trouble string) error {
	a.now.mu.Lock()
	defer a.now.mu.Unlock()
	if a.stopped() {
		return fmt.Errorf("%w: this configuration is not in force any more", backup.ErrClosed)
	}
	added, unload := a.loadAll(settings)
	if a.now.detach != nil && trouble == a.now.trouble && slices.EqualFunc(added, a.now.added, (*addedJob).same) {
		unload(added, a.now.added)
		return nil
	}
	config := a.config
	config.Trouble, config.Jobs = trouble, slices.Clone(a.config.Jobs)
	for _, x := range added {
		if !a.configured(x.job.Name) {
			config.Jobs = append(config.Jobs, x.job)
		}
	}
	a.leaveOut(config.Jobs)
	detach, err := a.service.Attach(config)
	if err != nil {
		unload(added, a.now.added)
		return err
	}
	if a.now.detach != nil {
		a.now.detach()
	}
	a.tell(added)
	unload(a.now.added, added)
	a.now.added, a.now.jobs, a.now.trouble, a.now.detach = added, config.Jobs, trouble, detach
	a.service.startCounting(config.Jobs)
	return nil
}

// loadAll loads jobs. Those that are loaded already stay as they are; broken ones are tried again. unload gives up those of
// one list that another has not.
func (a *App) loadAll(settings []backup.JobSetting) (jobs []*addedJob, unload func(these, but []*addedJob)) {
	for _, s := range settings {
		i := slices.IndexFunc(a.now.added, func(x *addedJob) bool { return equal(x.setting, s) && x.job.Broken == "" })
		if i >= 0 {
			jobs = append(jobs, a.now.added[i])
		} else {
			jobs = append(jobs, a.load(s))
		}
	}
	return jobs, func(these, but []*addedJob) {
		for _, x := range these {
			if !slices.Contains(but, x) {
				x.unload()
			}
		}
	}
}

func (x *addedJob) same(y *addedJob) bool {
	return x == y || x.job.Broken != "" && x.job.Broken == y.job.Broken && equal(x.setting, y.setting)
}

func equal(s, t backup.JobSetting) bool {
	return s.Name == t.Name && s.Modified.Equal(t.Modified) && bytes.Equal(s.Job, t.Job) && (s.Damaged == nil) == (t.Damaged == nil)
}

// tell writes down what is new and not as it should be.
func (a *App) tell(added []*addedJob) {
	for _, x := range added {
		if slices.ContainsFunc(a.now.added, x.same) {
			continue
		}
		switch name := x.setting.Name; {
		case a.configured(name):
			a.log.Warn("job " + name + " was added at run time, and the configuration has one of that name: that one counts; " +
				"remove the other with caddy backup remove " + name)
		case x.job.Broken != "":
			a.log.Error("job "+name+", which was added at run time, cannot be loaded: its runs will fail", zap.String("error", x.job.Broken))
		}
	}
}

// configured reports whether the configuration has a job of that name.
func (a *App) configured(name string) bool {
	return slices.ContainsFunc(a.config.Jobs, func(j backup.Job) bool { return j.Name == name })
}

// load makes a job of what was stored of it. Modules get a context of their own, which ends with the job.
func (a *App) load(s backup.JobSetting) *addedJob {
	ctx, unload := caddy.NewContext(a.ctx)
	job, err := a.read(ctx, s)
	if err != nil {
		unload()
		unload, job = func() {}, a.standIn(s, err)
	}
	job.Added = &s.AddedJob
	return &addedJob{s, job, unload}
}

func (a *App) read(ctx caddy.Context, s backup.JobSetting) (job backup.Job, err error) {
	if s.Damaged != nil {
		return job, s.Damaged
	}
	j, err := decodeJob(s.Job)
	if err != nil {
		return job, err
	}
	if err := checkName("job", j.Name); err != nil {
		return job, err
	}
	if j.Name != s.Name { // else there could be two of a name
		return job, fmt.Errorf("what is stored of it is job %s: remove it, and add it again", j.Name)
	}
	if job, err = a.configureJob(ctx, j); err != nil {
		return job, err
	}
	return job, a.validateJob(job)
}

// watch looks what other processes added or removed, from time to time, and what other apps of this one did, when changed is closed;
// until Stop.
func (a *App) watch(ended, changed <-chan struct{}) {
	ticker := time.NewTicker(lookEvery)
	defer ticker.Stop()
	said := ""
	for {
		select {
		case <-ended:
			return
		case <-ticker.C:
		case <-changed:
			changed = a.service.news.wait()
		}
		err := a.refresh(context.Background())
		if err == nil || errors.Is(err, backup.ErrClosed) {
			said = ""
		} else if err.Error() != said {
			said = err.Error()
			a.log.Warn("cannot look which jobs were added at run time", zap.Error(err))
		}
	}
}

// stopped reports whether Stop was called. The caller holds a.now.mu.
func (a *App) stopped() bool {
	select {
	case <-a.now.ended:
		return true
	default:
		return false
	}
}

// remember keeps what is known of added jobs beyond this configuration.
func (p *pooled) remember(host string, settings []backup.JobSetting) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.added = map[string][]backup.JobSetting{host: settings}
}

func (p *pooled) remembered(host string) []backup.JobSetting {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.added[host]
}
