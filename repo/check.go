package repo

import (
	"context"
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"
	"sync"

	"golang.org/x/sync/errgroup"
)

// CheckOptions choose how deep a check goes.
type CheckOptions struct {
	ReadData bool                  // also read packs and verify every byte of them
	Choose   func([]PackInfo) []ID // which packs to read, of those that can be; default all
	Progress func(CheckProgress)   // called now and then, from one goroutine at a time
}

// PackInfo is a pack in the storage.
type PackInfo struct {
	ID   ID
	Size int64 // bytes
}

// CheckProgress counts what a check did. Sizes in bytes.
type CheckProgress struct {
	PacksDone, PacksTotal int
	BytesRead, BytesTotal int64
}

// Problem is one finding. An error means that something is lost or would be refused; a note harms nothing (an orphan
// pack after a crash).
type Problem struct {
	File  string `json:"file,omitempty"` // the file of the repository, or the path in a snapshot
	Error bool   `json:"error"`
	Text  string `json:"text"`
}

// CheckReport is what a check found.
type CheckReport struct {
	Snapshots int       `json:"snapshots"`
	Packs     int       `json:"packs"`
	Blobs     int       `json:"blobs"`
	Bytes     int64     `json:"bytes"`      // size of all indexed packs
	BytesRead int64     `json:"bytes_read"` // read of packs as a whole
	PackBytes int64     `json:"pack_bytes"` // size of all packs, those in no index included
	Problems  []Problem `json:"problems"`

	// DamagedPacks are indexed packs that are missing, or hold other bytes than they should, as far as they were read.
	// See Distrust.
	DamagedPacks []ID `json:"damaged_packs,omitempty"`

	Listed []PackInfo `json:"-"` // indexed packs that are there with the size that the index says
	Whole  []ID       `json:"-"` // those of them that were read to the last byte, and are what they must be
	Orphan []ID       `json:"-"` // packs that no index lists
}

// Errors counts the problems that are errors.
func (r *CheckReport) Errors() int {
	n := 0
	for _, p := range r.Problems {
		if p.Error {
			n++
		}
	}
	return n
}

// Check verifies the structure of the whole repository (and, with ReadData, every byte of every pack). It never stops
// at the first problem. The error is about a check that could not be done; what it found is in the report.
//
// It takes no lock; call it under a shared one. That lets backups go on meanwhile: snapshots are listed first, then
// the index is loaded, then packs are listed, so that whatever a snapshot needs was there before we look for it, and
// what came later is at worst a pack that no index lists yet.
func (r *Repository) Check(ctx context.Context, o CheckOptions) (*CheckReport, error) {
	c := &checker{
		opt: o, report: &CheckReport{Problems: []Problem{}},
		// Nothing that memory holds is trusted: a damaged index file or snapshot could hide behind it.
		repo: newRepository(r.storage, r.key, r.config, r.opt),
	}
	for _, step := range []func(context.Context) error{c.keys, c.snapshots, c.index, c.packs, c.trees, c.data} {
		if err := step(ctx); err != nil {
			return nil, err
		}
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
	}
	slices.SortStableFunc(c.report.Problems, func(a, b Problem) int { return strings.Compare(a.File, b.File) })
	return c.report, nil
}

// checker is a check under way.
type checker struct {
	repo   *Repository
	opt    CheckOptions
	roots  []Snapshot
	audit  indexAudit
	sizes  map[ID]int64        // of the packs in the storage
	listed map[ID][]packedBlob // packs in the index that are there with the right size

	mu       sync.Mutex
	report   *CheckReport
	progress CheckProgress
}

func (c *checker) problem(file, format string, args ...any) {
	c.add(Problem{File: file, Error: true, Text: fmt.Sprintf(format, args...)})
}

func (c *checker) note(file, format string, args ...any) {
	c.add(Problem{File: file, Text: fmt.Sprintf(format, args...)})
}

// badPack is a problem of a whole pack.
func (c *checker) badPack(id ID, format string, args ...any) {
	c.problem(packName(id), format, args...)
	c.distrust([]location{{Pack: id}})
}

// distrust lists packs as damaged, once each.
func (c *checker) distrust(places []location) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, l := range places {
		if !slices.Contains(c.report.DamagedPacks, l.Pack) {
			c.report.DamagedPacks = append(c.report.DamagedPacks, l.Pack)
		}
	}
}

func (c *checker) add(p Problem) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.report.Problems = append(c.report.Problems, p)
}

// keys proves that no key file was changed. That one of them opens the repository says nothing about the others.
func (c *checker) keys(ctx context.Context) error {
	files, err := listFiles(ctx, c.repo.storage, "keys")
	if err != nil {
		return err
	}
	for _, f := range files {
		if f.Size > maxKeyFile {
			c.problem(f.Name, "key file is damaged: it has %d bytes", f.Size)
			continue
		}
		data, err := c.repo.storage.Get(ctx, f.Name, 0, -1)
		switch {
		case err != nil:
			c.problem(f.Name, "key file cannot be read: %v", err)
		case Hash(data).String() != path.Base(f.Name):
			c.problem(f.Name, "key file is damaged: its content does not fit its name; its password may open nothing any more")
		}
	}
	return nil
}

// damaged records what is wrong with stored files, and passes on what is wrong with the storage itself.
func (c *checker) damaged(err error) error {
	var list errorList
	if !errors.As(err, &list) {
		return err
	}
	for _, e := range list {
		c.problem("", "%v", e)
	}
	return nil
}

// snapshots reads every snapshot file.
func (c *checker) snapshots(ctx context.Context) error {
	var err error
	if c.roots, err = c.repo.Snapshots(ctx); err != nil {
		if err := c.damaged(err); err != nil {
			return err
		}
	}
	c.report.Snapshots = len(c.roots)
	return nil
}

// index reads every index file.
func (c *checker) index(ctx context.Context) error {
	if err := c.repo.loadIndex(ctx, c.audit.look); err != nil {
		return c.damaged(err)
	}
	return nil
}

// packs compares the packs that are indexed with those that are there.
func (c *checker) packs(ctx context.Context) error {
	var err error
	if c.sizes, err = c.repo.listPacks(ctx); err != nil {
		return err
	}
	c.report.PackBytes = sumSizes(c.sizes)
	c.listed = map[ID][]packedBlob{}
	indexed := c.repo.index.packs()
	for id, blobs := range indexed {
		c.report.Packs++
		c.report.Blobs += len(blobs)
		size, there := c.sizes[id]
		switch want := packSize(blobs); {
		case !there:
			c.badPack(id, "pack is missing; what it held is lost unless another pack holds it too")
		case size != want:
			c.badPack(id, "pack is %d bytes long, its index says %d", size, want)
		default:
			c.listed[id] = blobs
			c.report.Bytes += size
			c.report.Listed = append(c.report.Listed, PackInfo{id, size})
		}
		checkLayout(c, id, blobs)
	}
	c.audit.tell(c)
	for id := range c.sizes {
		if _, ok := indexed[id]; !ok {
			c.report.Orphan = append(c.report.Orphan, id)
			c.note(packName(id), "pack is in no index; a backup that was interrupted leaves such, and one under way too")
		}
	}
	return nil
}

// checkLayout finds what makes restic's check complain: gaps, and packs that hold trees and data.
func checkLayout(c *checker, id ID, blobs []packedBlob) {
	end, mixed := uint32(0), false
	for _, b := range blobs {
		if b.Offset != end {
			c.problem(packName(id), "index has a gap or an overlap in this pack at byte %d", end)
			return
		}
		end += b.Length
		mixed = mixed || b.Type != blobs[0].Type
	}
	if mixed {
		c.note(packName(id), "pack holds trees beside data; restic's prune rewrites such packs")
	}
}

// trees walks all folders of all snapshots, each tree once, on all cores.
func (c *checker) trees(ctx context.Context) error {
	w := &treeWalk{c: c, seen: map[ID]bool{}}
	w.group, ctx = errgroup.WithContext(ctx)
	w.group.SetLimit(max(1, c.repo.opt.Cores))
	for _, s := range c.roots {
		w.visit(ctx, s.Tree, "snapshot "+s.ID.Short()+":")
	}
	return w.group.Wait()
}
