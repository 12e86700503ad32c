package backup_test

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/caddy-backup/caddy-backup/backup"
	"github.com/caddy-backup/caddy-backup/storage"
)

// This file is the process that the laboratory lets loose on a repository, a copy of this test program. It does what the
// table says, one after the other, in an order that its seed decides, until it is killed. On its standard output it
// tells what it is about to do and what is done: what it printed as done was acknowledged.

// labOps is the table: a name, how often it comes relative to the others, and what it does. A new operation of the
// Service is one line here. It returns an error when the operation did not end well, which it must, whatever happened to
// the processes before.
var labOps = []labOp{
	{"backup", 6, (*labChild).backup},
	{"forget", 2, (*labChild).forget},
	{"delete", 1, (*labChild).delete},
	{"pin", 1, (*labChild).pin},
	{"prune", 3, (*labChild).prune},
	{"check", 1, (*labChild).check},
	{"import", 2, (*labChild).importDump},
	{"repair", 1, (*labChild).repair},
	{"password", 1, (*labChild).changePassword},
	{"key", 1, (*labChild).changeKeys},
	{"mend", 0, (*labChild).mend},
}

type labOp struct {
	name   string
	weight int
	do     func(*labChild, context.Context) error
}

// labPlan is what the parent tells a child, as JSON in its environment.
type labPlan struct {
	Root   string
	Seed   uint64
	Next   uint64   // the number of the next backup
	KillAt int64    // the child kills itself at its n-th change of the storage; 0: never
	After  bool     // … when that is done, instead of before
	Ops    []string // what to do, in this order, and then end; none: for ever, by chance
}

// labEnv is set for children.
const labEnv = "BACKUP_TEST_LAB"

func init() {
	text := os.Getenv(labEnv)
	if text == "" {
		return
	}
	var plan labPlan
	err := json.Unmarshal([]byte(text), &plan)
	if err == nil {
		err = runLabChild(plan)
	}
	if err != nil {
		fmt.Println("failed", strings.ReplaceAll(err.Error(), "\n", " "))
		os.Exit(1)
	}
	os.Exit(0)
}

// labChild is the child at work.
type labChild struct {
	*backup.Service
	root    string
	rng     *rand.Rand
	next    uint64
	content atomic.Uint64 // the number of the backup that is being made
}

func runLabChild(plan labPlan) error {
	c := &labChild{Service: backup.New().Cheap(), root: plan.Root, rng: rand.New(rand.NewPCG(plan.Seed, 0)), next: plan.Next}
	c.SetLockWait(10 * time.Minute) // restic's prune on a slow disk takes its time
	st := &suicidal{Local: storage.NewLocal(filepath.Join(plan.Root, "repository")), after: plan.After}
	st.left.Store(plan.KillAt)
	if _, err := c.Attach(labConfig(plan.Root, st, c)); err != nil {
		return err
	}
	if len(plan.Ops) > 0 {
		for _, name := range plan.Ops {
			i := slices.IndexFunc(labOps, func(op labOp) bool { return op.name == name })
			if err := c.do(labOps[i]); err != nil {
				return err
			}
		}
		return c.Close(context.Background())
	}
	for {
		if err := c.do(c.pick()); err != nil {
			return err
		}
	}
}

// labConfig has no password in it: the one that is generated is changed, too.
func labConfig(root string, st backup.Storage, c *labChild) backup.Config {
	return backup.Config{
		Host:         "shop-server",
		Repositories: []backup.RepositoryConfig{{Storage: st, PackSize: 4 << 20}},
		Jobs: []backup.Job{{Name: "shop", Sources: []backup.NamedSource{
			{Name: "db", Kind: "fake", Source: c.dump()}, {Name: "media", Kind: "fake", Source: labMedia{Source: c.dump(), c: c}},
		}, ShrinkLimit: "off", Retention: &backup.Retention{Last: 6, Manual: true}}}, // what is dumped is of any size
		Store:   fileStore{filepath.Join(root, "store")},
		DataDir: filepath.Join(root, "data"),
	}
}

func (c *labChild) pick() labOp {
	all := 0
	for _, op := range labOps {
		all += op.weight
	}
	n := c.rng.IntN(all)
	for _, op := range labOps {
		if n -= op.weight; n < 0 {
			return op
		}
	}
	panic("unreachable")
}

func (c *labChild) do(op labOp) error {
	fmt.Println("begin", op.name)
	if err := op.do(c, context.Background()); err != nil {
		return fmt.Errorf("%s: %w", op.name, err)
	}
	fmt.Println("end", op.name)
	return nil
}

// green waits until a run has ended, which must be ok.
func (c *labChild) green(run backup.Run, err error) (backup.Run, error) {
	if err != nil {
		return run, err
	}
	for r, err := range c.Watch(context.Background(), run.ID) {
		if err != nil {
			return run, err
		}
		run = r
	}
	if run.State != backup.StateOK {
		return run, fmt.Errorf("%s: %s %+v", run.State, run.Error, run.Findings)
	}
	return run, nil
}

func (c *labChild) backup(ctx context.Context) error {
	number := c.next
	c.next++
	c.content.Store(number)
	fmt.Println("backing", number)
	run, err := c.green(c.Backup(ctx, "tester", "shop"))
	if err == nil {
		fmt.Println("backed", number, run.Snapshot)
	}
	return err
}

// forget tells before which snapshots it is about to remove, and behind which it has.
func (c *labChild) forget(ctx context.Context) error {
	plan, err := c.Retention(ctx, "shop")
	if err != nil {
		return err
	}
	for _, s := range plan.Snapshots {
		if !s.Kept {
			fmt.Println("removing", s.ID)
		}
	}
	return c.removed(c.Forget(ctx, "tester", backup.ForgetRequest{Job: "shop", Confirm: true}))
}

func (c *labChild) removed(run backup.Run, err error) error {
	run, err = c.green(run, err)
	for _, s := range run.Removed {
		fmt.Println("removed", s.ID)
	}
	return err
}

// any picks a snapshot of the job that may go, but not the newest; "" when there is none.
func (c *labChild) any(ctx context.Context, may func(list []backup.Snapshot, s backup.Snapshot) bool) (id string, err error) {
	list, err := c.Snapshots(ctx, backup.SnapshotQuery{Job: "shop"})
	if err != nil || len(list.Snapshots) < 2 {
		return "", err
	}
	old := slices.DeleteFunc(slices.Clone(list.Snapshots[1:]), func(s backup.Snapshot) bool { return !may(list.Snapshots, s) })
	if len(old) == 0 {
		return "", nil
	}
	return old[c.rng.IntN(len(old))].ID, nil
}

func (c *labChild) delete(ctx context.Context) error {
	id, err := c.any(ctx, func(list []backup.Snapshot, s backup.Snapshot) bool {
		return !slices.ContainsFunc(list, func(x backup.Snapshot) bool { // a pin that was cut off leaves two files of it
			return x.StableID == s.StableID && slices.Contains(x.Tags, "keep")
		})
	})
	if err != nil || id == "" {
		return err
	}
	fmt.Println("removing", id)
	return c.removed(c.Delete(ctx, "tester", backup.DeleteRequest{Snapshots: []string{id}, Confirm: true}))
}

// pin pins a snapshot, or undoes that.
func (c *labChild) pin(ctx context.Context) error {
	id, err := c.any(ctx, func([]backup.Snapshot, backup.Snapshot) bool { return true })
	if err != nil || id == "" {
		return err
	}
	run, err := c.green(c.Keep(ctx, "tester", backup.KeepRequest{Snapshot: id, Keep: c.rng.IntN(3) == 0}))
	if err == nil {
		fmt.Println("renamed", id, run.Snapshot)
	}
	return err
}

func (c *labChild) prune(ctx context.Context) error {
	unused := []string{"0%", "5%", "50%", "unlimited"}[c.rng.IntN(4)]
	_, err := c.green(c.Prune(ctx, "tester", backup.PruneRequest{MaxUnused: unused}))
	return err
}

func (c *labChild) check(ctx context.Context) error {
	_, err := c.green(c.Check(ctx, "tester", backup.CheckRequest{ReadData: c.rng.IntN(3) == 0}))
	return err
}

func (c *labChild) changePassword(ctx context.Context) error {
	_, err := c.green(c.ChangePassword(ctx, "tester", "", nil))
	return err
}

// changeKeys adds a password, or removes one that is not ours: those that cut-off changes have left, too.
func (c *labChild) changeKeys(ctx context.Context) error {
	keys, err := c.Keys(ctx, "")
	if err != nil {
		return err
	}
	for _, k := range keys {
		if !k.Current && len(keys) > 3 {
			_, err := c.green(c.RemoveKey(ctx, "tester", "", k.ID.String()))
			return err
		}
	}
	_, err = c.green(c.AddKey(ctx, "tester", "", fmt.Appendf(nil, "password %d", c.rng.Uint64())))
	return err
}

// importDump imports a file that lies there: a snapshot of an older time.
func (c *labChild) importDump(ctx context.Context) error {
	number := c.next
	c.next++
	made := time.Date(2020, 1, 1, 0, 0, 0, 0, time.UTC).Add(time.Duration(number) * time.Hour)
	file := filepath.Join(c.root, "db-"+made.Format("2006-01-02-150405")+".sql")
	if err := os.WriteFile(file, labDump(number), 0o600); err != nil {
		return err
	}
	defer os.Remove(file)
	fmt.Println("backing", number)
	run, err := c.green(c.Import(ctx, "tester", backup.ImportRequest{Job: "shop", Part: "db.sql", Files: []string{file}}))
	if err != nil {
		return err
	}
	list, err := c.Snapshots(ctx, backup.SnapshotQuery{Job: "shop"})
	for _, s := range list.Snapshots {
		if s.Run == run.ID {
			fmt.Println("backed", number, s.ID)
		}
	}
	return err
}

// repair has something to repair: an index file is gone.
func (c *labChild) repair(ctx context.Context) error {
	files, err := filepath.Glob(filepath.Join(c.root, "repository", "index", strings.Repeat("?", 64)))
	if err != nil {
		return err
	}
	if len(files) > 0 {
		fmt.Println("wounding")
		if err := os.Remove(files[c.rng.IntN(len(files))]); err != nil {
			return err
		}
	}
	return c.mend(ctx)
}

func (c *labChild) mend(ctx context.Context) error {
	_, err := c.green(c.Repair(ctx, "tester", backup.RepairRequest{What: backup.RepairIndex, ReadAll: c.rng.IntN(3) == 0}))
	if err == nil {
		_, err = c.green(c.Repair(ctx, "tester", backup.RepairRequest{What: backup.RepairSnapshots}))
	}
	if err == nil {
		fmt.Println("mended")
	}
	return err
}

// suicidal is a folder whose user kills itself, with SIGKILL, at a certain change of it.
type suicidal struct {
	*storage.Local
	left  atomic.Int64
	after bool
}

func (s *suicidal) Put(ctx context.Context, name string, data []byte) error {
	return s.change(func() error { return s.Local.Put(ctx, name, data) })
}

func (s *suicidal) Delete(ctx context.Context, name string) error {
	return s.change(func() error { return s.Local.Delete(ctx, name) })
}

func (s *suicidal) change(do func() error) error {
	last := s.left.Add(-1) == 0
	if last && !s.after {
		killSelf()
	}
	err := do()
	if last {
		killSelf()
	}
	return err
}

func killSelf() {
	syscall.Kill(os.Getpid(), syscall.SIGKILL)
	select {}
}
