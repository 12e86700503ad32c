package repo_test

import (
	"slices"
	"testing"
	"testing/synctest"

	"github.com/caddy-backup/caddy-backup/repo"
	"github.com/caddy-backup/caddy-backup/storage/storagetest"
)

// TestRepairDoubtsListings: a snapshot that one listing left out is not one that cannot be read, and is not given up.
func TestRepairDoubtsListings(t *testing.T) { synctest.Test(t, testRepairDoubtsListings) }

func testRepairDoubtsListings(t *testing.T) {
	for _, how := range []storagetest.How{storagetest.Lie, storagetest.Short} {
		for times := 1; times <= 3; times++ {
			st := twoSnapshots(t)
			f := storagetest.NewFaulty(st)
			f.Inject(storagetest.Fault{How: how, Times: times, Only: func(op storagetest.Op) bool {
				return op.Kind == storagetest.List && op.Name == "snapshots"
			}})
			before := storagetest.Names(t, st, "snapshots")
			var report *repo.SnapshotsRepair
			err := alone(t.Context(), f, func(r *repo.Repository, l *repo.Lock) (err error) {
				report, err = r.RepairSnapshots(t.Context(), l, repo.RepairSnapshotsOptions{Forget: true})
				return err
			})
			if after := storagetest.Names(t, st, "snapshots"); !slices.Equal(before, after) {
				t.Errorf("%d listings that are %v: %v, %+v, %q became %q", times, how, err, report, before, after)
			}
		}
	}
}
