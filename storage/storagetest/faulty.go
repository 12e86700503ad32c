package storagetest

import (
	"cmp"
	"context"
	"errors"
	"iter"
	"slices"
	"sync"
	"time"

	"github.com/caddy-backup/caddy-backup/repo"
)

// The errors that a Faulty makes up.
var (
	ErrInjected = errors.New("injected fault")             // default of Fault.Err
	ErrCrashed  = errors.New("the process is gone (fake)") // of everything from a crash on
)

// Kind is a method of repo.Storage.
type Kind string

// The four of them.
const (
	Put    Kind = "put"
	Get    Kind = "get"
	List   Kind = "list"
	Delete Kind = "delete"
)

// Op is one operation on the storage.
type Op struct {
	N      int    // 1 for the first since NewFaulty
	Kind   Kind   // which method
	Name   string // of the file; of the folder for List
	Size   int    // bytes that Put was given
	Off, L int64  // range of Get; L < 0 is "up to the end"
	Err    error  // what the caller got; only in Trace, and only once the operation has ended
}

// How something goes wrong.
type How int

// Where a How makes no sense for an operation, the operation is done as Before.
const (
	// Before: nothing is done, the caller gets the error.
	Before How = iota
	// After: all is done, but the caller gets the error: a lost acknowledgement.
	After
	// Midway: Put leaves half of the data under a temporary name (the name and "-tmp-1"), which the contract allows
	// to a killed process only; List yields half of the files. The caller gets the error.
	Midway
	// Lie: nothing is done, and the caller is told that all went well: Put and Delete return nil, List is empty, Get
	// returns zeros of the right length.
	Lie
	// Short: no error, but half is missing: of the data that Put stores or Get returns, of the files that List names.
	Short
	// Corrupt: no error, but one bit is wrong in the data that Put stores or Get returns.
	Corrupt
	// Slow: all goes well after Fault.Delay, or ends with the context.
	Slow
)

// String names it for subtests.
func (h How) String() string {
	return [...]string{"before", "after", "midway", "lie", "short", "corrupt", "slow"}[h]
}

// Forever is the Times of a Fault that does not go away.
const Forever = -1

// Fault makes operations go wrong. The zero value fails the next one, once, with ErrInjected.
type Fault struct {
	At    int           // the first operation hit, counted from 1 among those that Only passes; 0 means 1
	Times int           // how many from there on are hit; 0 means 1; Forever
	Only  func(Op) bool // nil: all operations count
	How   How
	Err   error         // default ErrInjected
	Delay time.Duration // of Slow

	seen int
	gone bool // the process is: what follows the first hit is ErrCrashed, Before
}

// Faulty is a storage on which things go wrong as told; without faults it does what the one below does. All methods
// may be called at once; with concurrent callers, which operation is the k-th is theirs to decide.
//
// To try every single operation of some work, let it run until it gets by without being hit:
//
//	for k := 1; ; k++ {
//		f := storagetest.NewFaulty(new(storage.Memory))
//		f.Crash(k, storagetest.After)
//		err := work(f)
//		… what must hold on the storage below f, whatever err is …
//		if f.Fired() == 0 {
//			break // the work has fewer than k operations
//		}
//	}
type Faulty struct {
	below repo.Storage

	mu     sync.Mutex
	faults []*Fault
	hook   func(Op) error
	trace  []*Op
	fired  int
}

var _ repo.Storage = (*Faulty)(nil)

// NewFaulty wraps a storage.
func NewFaulty(below repo.Storage, faults ...Fault) *Faulty {
	f := &Faulty{below: below}
	for _, ft := range faults {
		f.Inject(ft)
	}
	return f
}

// Inject adds a fault; its At counts from now on. Where several hit one operation, the one added first wins.
func (f *Faulty) Inject(ft Fault) {
	f.mu.Lock()
	defer f.mu.Unlock()
	ft.At, ft.Times, ft.seen = max(ft.At, 1), cmp.Or(ft.Times, 1), 0
	ft.Err = cmp.Or(ft.Err, ErrInjected)
	f.faults = append(f.faults, &ft)
}

// Crash ends the process, as it were, at the k-th operation from now on: that one is done as how says (Before, After or
// Midway), and it and all that follow return ErrCrashed. The storage below shows what the dead process left behind.
func (f *Faulty) Crash(k int, how How) {
	f.Inject(Fault{At: k, Times: Forever, How: how, Err: ErrCrashed, gone: true})
}

// Heal takes all faults and the hook away.
func (f *Faulty) Heal() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.faults, f.hook = nil, nil
}

// Hook has h called before every operation, for what Fault cannot say: to wait, to count, to change the storage
// behind the back. Its error becomes the operation's, as Before. It may be called from several goroutines at once.
func (f *Faulty) Hook(h func(Op) error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.hook = h
}

// Count is the number of operations so far.
func (f *Faulty) Count() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.trace)
}

// Fired is the number of operations that a fault has hit so far.
func (f *Faulty) Fired() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.fired
}

// Trace lists the operations so far, in the order in which they began.
func (f *Faulty) Trace() []Op {
	f.mu.Lock()
	defer f.mu.Unlock()
	ops := make([]Op, len(f.trace))
	for i, op := range f.trace {
		ops[i] = *op
	}
	return ops
}

// Location is that of the storage below, when it has one.
func (f *Faulty) Location() string {
	if l, ok := f.below.(interface{ Location() string }); ok {
		return l.Location()
	}
	return "faulty"
}

// Put implements repo.Storage.
func (f *Faulty) Put(ctx context.Context, name string, data []byte) error {
	op, ft, err := f.begin(ctx, Op{Kind: Put, Name: name, Size: len(data)})
	if err == nil {
		err = f.put(ctx, ft, name, data)
	}
	return f.end(op, err)
}

func (f *Faulty) put(ctx context.Context, ft *Fault, name string, data []byte) error {
	if ft == nil {
		return f.below.Put(ctx, name, data)
	}
	switch ft.How {
	case After:
		return errors.Join(ft.Err, f.below.Put(ctx, name, data))
	case Midway:
		return errors.Join(ft.Err, f.below.Put(ctx, name+"-tmp-1", data[:len(data)/2]))
	case Lie:
		return nil
	case Short:
		return f.below.Put(ctx, name, data[:len(data)/2])
	case Corrupt:
		return f.below.Put(ctx, name, flipped(data))
	case Slow:
		return f.below.Put(ctx, name, data)
	}
	return ft.Err
}

// Get implements repo.Storage.
func (f *Faulty) Get(ctx context.Context, name string, off, n int64) ([]byte, error) {
	op, ft, err := f.begin(ctx, Op{Kind: Get, Name: name, Off: off, L: n})
	var data []byte
	if err == nil {
		data, err = f.get(ctx, ft, name, off, n)
	}
	return data, f.end(op, err)
}

func (f *Faulty) get(ctx context.Context, ft *Fault, name string, off, n int64) ([]byte, error) {
	if ft != nil && (ft.How == Before || ft.How == After || ft.How == Midway) {
		return nil, ft.Err
	}
	data, err := f.below.Get(ctx, name, off, n)
	if ft == nil || err != nil {
		return data, err
	}
	switch ft.How {
	case Lie:
		clear(data)
	case Short:
		data = data[:len(data)/2]
	case Corrupt:
		data = flipped(data)
	}
	return data, nil
}

// List implements repo.Storage. The operation begins when the listing is read.
func (f *Faulty) List(ctx context.Context, dir string) iter.Seq2[repo.FileInfo, error] {
	return func(yield func(repo.FileInfo, error) bool) {
		op, ft, err := f.begin(ctx, Op{Kind: List, Name: dir})
		if err == nil {
			err = f.list(ctx, ft, dir, yield)
		}
		if f.end(op, err) != nil && err != errStopped {
			yield(repo.FileInfo{}, err)
		}
	}
}

var errStopped = errors.New("stopped by the caller")

func (f *Faulty) list(ctx context.Context, ft *Fault, dir string, yield func(repo.FileInfo, error) bool) error {
	var files []repo.FileInfo
	for fi, err := range f.below.List(ctx, dir) {
		if err != nil {
			return err
		}
		files = append(files, fi)
	}
	var end error
	if ft != nil {
		switch ft.How {
		case Before, After:
			return ft.Err
		case Midway:
			files, end = files[:len(files)/2], ft.Err
		case Short:
			files = files[:len(files)/2]
		case Lie:
			files = nil
		}
	}
	for _, fi := range files {
		if !yield(fi, nil) {
			return errStopped
		}
	}
	return end
}

// Delete implements repo.Storage.
func (f *Faulty) Delete(ctx context.Context, name string) error {
	op, ft, err := f.begin(ctx, Op{Kind: Delete, Name: name})
	if err == nil {
		err = f.delete(ctx, ft, name)
	}
	return f.end(op, err)
}

func (f *Faulty) delete(ctx context.Context, ft *Fault, name string) error {
	switch {
	case ft == nil, ft.How == Slow:
		return f.below.Delete(ctx, name)
	case ft.How == After:
		return errors.Join(ft.Err, f.below.Delete(ctx, name))
	case ft.How == Lie:
		return nil
	}
	return ft.Err
}

// begin counts and records an operation, and finds the fault that hits it.
func (f *Faulty) begin(ctx context.Context, op Op) (*Op, *Fault, error) {
	f.mu.Lock()
	op.N = len(f.trace) + 1
	p := &op
	f.trace = append(f.trace, p)
	ft, hook := f.hit(op), f.hook
	f.mu.Unlock()
	if hook != nil {
		if err := hook(op); err != nil {
			return p, nil, err
		}
	}
	if ft != nil && ft.How == Slow {
		select {
		case <-time.After(ft.Delay):
		case <-ctx.Done():
			return p, nil, ctx.Err()
		}
	}
	return p, ft, nil
}

// hit returns a copy of the fault that is due. The caller holds the lock.
func (f *Faulty) hit(op Op) *Fault {
	var due *Fault
	for _, ft := range f.faults {
		if ft.Only != nil && !ft.Only(op) {
			continue
		}
		ft.seen++
		if due != nil || ft.seen < ft.At || ft.Times != Forever && ft.seen >= ft.At+ft.Times {
			continue
		}
		hit := *ft
		if ft.gone && ft.seen > ft.At {
			hit.How = Before
		}
		due = &hit
	}
	if due != nil {
		f.fired++
	}
	return due
}

// end records how an operation ended.
func (f *Faulty) end(op *Op, err error) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if op.Err = err; err == errStopped {
		op.Err = nil
	}
	return err
}

// flipped is a copy with one bit changed, in the middle.
func flipped(data []byte) []byte {
	data = slices.Clone(data)
	if len(data) > 0 {
		data[len(data)/2] ^= 0x10
	}
	return data
}
