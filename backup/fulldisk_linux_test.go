package backup_test

import (
	crand "crypto/rand"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/caddy-backup/caddy-backup/backup"
	"github.com/caddy-backup/caddy-backup/backup/backuptest"
	"github.com/caddy-backup/caddy-backup/internal/realtest"
	"github.com/caddy-backup/caddy-backup/repo"
	"github.com/caddy-backup/caddy-backup/storage"
)

// fullDisk is a Service whose repository lies on a disk that runs full.
type fullDisk struct {
	*backuptest.Env
	t      *testing.T
	dir    string
	media  backuptest.Folder // what is backed up beside the dump
	filler string            // has the rest of the disk, when it is full
	made   map[string]made   // acknowledged snapshots
}

// made is what was backed up.
type made struct {
	dump  string
	media backuptest.Folder
}

func newFullDisk(t *testing.T, mib int) *fullDisk {
	if testing.Short() {
		t.Skip("the race detector finds nothing new here")
	}
	d := &fullDisk{t: t, dir: realtest.SmallDisk(t, mib), media: backuptest.Folder{"readme": "text"}, made: map[string]made{}}
	d.Env = newPlace(t, storage.NewLocal(filepath.Join(d.dir, "repository")), func(c *backup.Config) {
		c.Repositories[0].Password, c.Repositories[0].PackSize = []byte(backuptest.Password), 4<<20
		c.Jobs[0].Sources = append(c.Jobs[0].Sources, backup.NamedSource{Name: "media", Kind: "fake", Source: d.media})
		c.Jobs[0].ShrinkLimit = "off"
	})
	return d
}

// backup backs up some MiB of noise, which no zstd makes smaller, and the media.
func (d *fullDisk) backup(mib int) backup.Run {
	d.t.Helper()
	dump := diskNoise(mib << 20)
	d.DB.Set(dump)
	run := d.RunBackup(d.t, "shop")
	if run.State == backup.StateOK {
		d.made[run.Snapshot] = made{dump, maps.Clone(d.media)}
	}
	return run
}

func diskNoise(size int) string {
	data := make([]byte, size)
	crand.Read(data)
	return string(data)
}

// backedUp is backup where it must work.
func (d *fullDisk) backedUp(mib int) (id string) {
	d.t.Helper()
	run := d.backup(mib)
	if run.State != backup.StateOK {
		d.t.Fatalf("%s: %s", run.State, run.Error)
	}
	return run.Snapshot
}

// fill takes the last byte of the disk.
func (d *fullDisk) fill() { d.filler = realtest.Fill(d.t, d.dir) }

// refill takes it again, when something was freed.
func (d *fullDisk) refill() {
	d.room()
	d.fill()
}

// room gives it back.
func (d *fullDisk) room() {
	if err := os.Remove(d.filler); err != nil {
		d.t.Fatal(err)
	}
}

func (d *fullDisk) free() int64 {
	var st syscall.Statfs_t
	if err := syscall.Statfs(d.dir, &st); err != nil {
		d.t.Fatal(err)
	}
	return int64(st.Bavail) * st.Bsize
}

// refused is for a run that cannot work without space: it says so and names the way out.
func (d *fullDisk) refused(run backup.Run, err error) {
	d.t.Helper()
	if err != nil {
		d.t.Fatal(err)
	}
	run = d.Wait(d.t, run.ID)
	if run.State != backup.StateFailed || !strings.Contains(run.Error, "no space left on device") ||
		!strings.Contains(run.Error, "free some space on the volume of "+d.dir) {
		d.t.Errorf("%s on a full disk: %s %s", run.Kind, run.State, run.Error)
	}
	d.whole()
}

// works is for a run that needs no space.
func (d *fullDisk) works(run backup.Run, err error) backup.Run {
	d.t.Helper()
	if err != nil {
		d.t.Fatal(err)
	}
	run = d.Wait(d.t, run.ID)
	if run.State != backup.StateOK {
		d.t.Errorf("%s: %s %s", run.Kind, run.State, run.Error)
	}
	d.whole()
	return run
}

// whole looks that nothing is lost or left: every acknowledged backup byte by byte, the check, no lock, no unfinished file.
func (d *fullDisk) whole() {
	d.t.Helper()
	for id, want := range d.made {
		if string(d.Read(d.t, id, "/shop/db.sql")) != want.dump {
			d.t.Errorf("snapshot %s: another dump came back", id)
		}
		for name, text := range want.media {
			if string(d.Read(d.t, id, "/shop/media/"+name)) != text {
				d.t.Errorf("snapshot %s: another %s came back", id, name)
			}
		}
	}
	r := must(repo.Open(d.t.Context(), storage.NewLocal(filepath.Join(d.dir, "repository")), []byte(backuptest.Password), repo.Options{}))(d.t)
	report, err := r.Check(d.t.Context(), repo.CheckOptions{ReadData: true})
	if err != nil || report.Errors() > 0 || report.Snapshots != len(d.made) {
		d.t.Errorf("check: %v, %+v", err, report)
	}
	fs.WalkDir(os.DirFS(d.dir), "repository", func(path string, e fs.DirEntry, err error) error {
		if err != nil || strings.Contains(path, "/locks/") || strings.Contains(path, "-tmp-") && !strings.Contains(path, "reserve") {
			d.t.Errorf("left: %s %v", path, err)
		}
		return nil
	})
}

// remove deletes a snapshot, which needs no space.
func (d *fullDisk) remove(id string) {
	d.t.Helper()
	delete(d.made, id)
	d.works(d.Delete(d.t.Context(), "tester", backup.DeleteRequest{Snapshots: []string{id}}))
}

func (d *fullDisk) prune(maxUnused string) (backup.Run, error) {
	return d.Prune(d.t.Context(), "tester", backup.PruneRequest{MaxUnused: maxUnused})
}

// repair has an index file lost and the disk full: when the new index fits into what was kept for locks, that is well, else
// the run says what to do; with some room it works.
func (d *fullDisk) repair() {
	d.t.Helper()
	index := must(filepath.Glob(filepath.Join(d.dir, "repository", "index", strings.Repeat("?", 64))))(d.t)
	if err := os.Remove(index[0]); err != nil {
		d.t.Fatal(err)
	}
	d.fill()
	request := backup.RepairRequest{What: backup.RepairIndex}
	run := d.Wait(d.t, must(d.Repair(d.t.Context(), "tester", request))(d.t).ID)
	if run.State != backup.StateOK && !strings.Contains(run.Error, "free some space on the volume of "+d.dir) {
		d.t.Errorf("repair on a full disk: %s %s", run.State, run.Error)
	}
	d.room()
	d.works(d.Repair(d.t.Context(), "tester", request))
}

// TestFullDisk goes through what can be asked of a repository on a disk that is full to the last byte. What needs space
// fails, says what to do, and leaves nothing; what needs none works; and prune, with packs that nobody needs, makes room
// for the rest.
func TestFullDisk(t *testing.T) {
	t.Parallel() // it mostly waits
	d := newFullDisk(t, 40)
	first := d.backedUp(8)
	d.backedUp(8)
	d.backedUp(8)
	if run := d.backup(24); run.State != backup.StateFailed || !strings.Contains(run.Error, "no space left on device") {
		t.Fatalf("%+v", run)
	}
	d.whole()

	d.fill()
	d.refused(d.Backup(t.Context(), "tester", "shop"))
	d.works(d.Check(t.Context(), "tester", backup.CheckRequest{ReadData: true}))
	d.works(d.prune("")) // of what the failed backups left
	d.refill()
	d.remove(first)
	before := d.free()
	run := d.works(d.prune("unlimited"))
	if freed := d.free() - before; freed < 3<<20 {
		t.Errorf("pruned on a full disk: %d bytes were freed; %s %v", freed, run.Summary, run.Prune)
	}
	d.backedUp(2) // of the 8 MiB removed, the pack with the last ones, of 4 MiB at the most, holds the media too, and stays
	d.room()
	d.works(d.prune("0%"))
	d.backedUp(12)
	d.whole()
	realtest.Restic(t, filepath.Join(d.dir, "repository"), backuptest.Password, "check", "--read-data")
}

// TestFullDiskRepack has packs of which a half is needed. On a full disk they cannot be written anew: prune deletes only
// what is wholly unused, or nothing, and says so.
func TestFullDiskRepack(t *testing.T) {
	t.Parallel() // it mostly waits
	d := newFullDisk(t, 40)
	for n := range 64 {
		d.media[fmt.Sprint(n)] = diskNoise(128 << 10)
	}
	first := d.backedUp(12)
	for n := range 32 {
		delete(d.media, fmt.Sprint(2*n))
	}
	second := d.backedUp(4)
	d.fill()
	d.remove(first) // its dump filled packs of its own, the media share theirs
	before := d.free()
	run := d.works(d.prune("0%"))
	if freed := d.free() - before; freed < 2<<20 || !strings.Contains(strings.Join(run.Prune.Notes, " "), "the disk was full") {
		t.Errorf("%d bytes freed: %+v", freed, run.Prune)
	}
	d.refill()
	d.refused(d.prune("0%"))
	d.room()
	run = d.works(d.prune("0%"))
	if run.Prune.PacksRepacked == 0 || run.Prune.BytesLeftUnused != 0 {
		t.Errorf("with room: %+v", run.Prune)
	}
	d.repair()
	d.works(d.Restore(t.Context(), "tester", backup.RestoreRequest{Snapshot: second, Target: filepath.Join(t.TempDir(), "restored")}))
	realtest.Restic(t, filepath.Join(d.dir, "repository"), backuptest.Password, "check", "--read-data")
}
