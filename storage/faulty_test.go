package storage_test

import (
	"context"
	"errors"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddy-backup/caddy-backup/repo"
	"github.com/caddy-backup/caddy-backup/storage"
	"github.com/caddy-backup/caddy-backup/storage/storagetest"
)

func TestFaultyWithoutFaults(t *testing.T) {
	storagetest.Run(t, func(*testing.T) repo.Storage { return storagetest.NewFaulty(new(storage.Memory)) })
}

// TestHow shows what each kind of fault does to each operation: what the caller gets, and what the storage then holds.
func TestHow(t *testing.T) {
	const old, data = "old one!", "new data"
	tests := []struct {
		how                  storagetest.How
		putErr, getErr       bool
		put, temp, got       string
		listed               int
		listErr, delErr, del bool
	}{
		{how: storagetest.Before, putErr: true, put: "", getErr: true, listErr: true, delErr: true},
		{how: storagetest.After, putErr: true, put: data, getErr: true, listErr: true, delErr: true, del: true},
		{how: storagetest.Midway, putErr: true, temp: "new ", getErr: true, listed: 2, listErr: true, delErr: true},
		{how: storagetest.Lie, got: "\x00\x00\x00\x00\x00\x00\x00\x00"},
		{how: storagetest.Short, put: "new ", got: "old ", listed: 2, delErr: true},
		{how: storagetest.Corrupt, put: "new tata", got: "old \x7fne!", listErr: false, listed: 4, delErr: true},
		{how: storagetest.Slow, put: data, got: old, listed: 4, del: true},
	}
	for _, tt := range tests {
		t.Run(tt.how.String(), func(t *testing.T) {
			below := new(storage.Memory)
			for _, name := range []string{"a", "b", "c", "d"} {
				storagetest.Write(t, below, "old/"+name, []byte(old))
			}
			f := storagetest.NewFaulty(below, storagetest.Fault{How: tt.how, Times: storagetest.Forever})
			if err := f.Put(ctx, "new/x", []byte(data)); errors.Is(err, storagetest.ErrInjected) != tt.putErr {
				t.Errorf("Put: %v", err)
			}
			if got, _ := below.Get(ctx, "new/x", 0, -1); string(got) != tt.put {
				t.Errorf("Put stored %q, want %q", got, tt.put)
			}
			if got, _ := below.Get(ctx, "new/x-tmp-1", 0, -1); string(got) != tt.temp {
				t.Errorf("Put left %q, want %q", got, tt.temp)
			}
			got, err := f.Get(ctx, "old/a", 0, -1)
			if errors.Is(err, storagetest.ErrInjected) != tt.getErr || string(got) != tt.got {
				t.Errorf("Get: %q, %v", got, err)
			}
			n := 0
			err = nil
			for _, e := range f.List(ctx, "old") {
				if e != nil {
					err = e
				} else {
					n++
				}
			}
			if errors.Is(err, storagetest.ErrInjected) != tt.listErr || n != tt.listed {
				t.Errorf("List: %d files, %v", n, err)
			}
			if err := f.Delete(ctx, "old/a"); errors.Is(err, storagetest.ErrInjected) != tt.delErr {
				t.Errorf("Delete: %v", err)
			}
			if _, err := below.Get(ctx, "old/a", 0, -1); (err != nil) != tt.del {
				t.Errorf("after Delete: %v", err)
			}
			if f.Fired() != 4 || f.Count() != 4 {
				t.Errorf("%d of %d operations were hit", f.Fired(), f.Count())
			}
		})
	}
}

func TestWhichOperation(t *testing.T) {
	puts := func(op storagetest.Op) bool { return op.Kind == storagetest.Put }
	mine := errors.New("mine")
	f := storagetest.NewFaulty(new(storage.Memory),
		storagetest.Fault{At: 2, Times: 2, Only: puts, Err: mine}, storagetest.Fault{At: 7})
	var failed []int
	for i := range 8 {
		var err error
		if i%2 == 0 {
			err = f.Put(ctx, "config", nil) // operations 1 3 5 7
		} else {
			_, err = f.Get(ctx, "config", 0, -1)
		}
		if err != nil {
			failed = append(failed, i+1)
		}
	}
	if !slices.Equal(failed, []int{3, 5, 7}) || f.Fired() != 3 {
		t.Errorf("operations %v failed, %d were hit", failed, f.Fired())
	}
	trace := f.Trace()
	if len(trace) != 8 || trace[2].Err != mine || !errors.Is(trace[6].Err, storagetest.ErrInjected) || trace[1].Kind != storagetest.Get {
		t.Errorf("trace: %+v", trace)
	}
	f.Inject(storagetest.Fault{}) // counts from now on
	if f.Put(ctx, "config", nil) == nil || f.Put(ctx, "config", nil) != nil {
		t.Error("a fault added later hits something else")
	}
	f.Inject(storagetest.Fault{Times: storagetest.Forever})
	f.Heal()
	if err := f.Put(ctx, "config", nil); err != nil {
		t.Errorf("healed: %v", err)
	}
}

func TestCrash(t *testing.T) {
	for _, how := range []storagetest.How{storagetest.Before, storagetest.After, storagetest.Midway} {
		for k := 1; k <= 5; k++ {
			below := new(storage.Memory)
			f := storagetest.NewFaulty(below)
			f.Crash(k, how)
			for i := range 4 {
				err := f.Put(ctx, []string{"a", "b", "c", "d"}[i], []byte("xx"))
				if errors.Is(err, storagetest.ErrCrashed) != (i+1 >= k) {
					t.Errorf("%v, k=%d: operation %d: %v", how, k, i+1, err)
				}
			}
			want := []string{"a", "b", "c", "d"}[:k-1]
			if k <= 4 && how == storagetest.After {
				want = []string{"a", "b", "c", "d"}[:k]
			}
			if k <= 4 && how == storagetest.Midway {
				want = append(slices.Clone(want), []string{"a", "b", "c", "d"}[k-1]+"-tmp-1")
			}
			if got := storagetest.Names(t, below, ""); !slices.Equal(got, want) {
				t.Errorf("%v, k=%d: left %q, want %q", how, k, got, want)
			}
			if (f.Fired() > 0) != (k <= 4) {
				t.Errorf("%v, k=%d: %d were hit", how, k, f.Fired())
			}
		}
	}
}

func TestHook(t *testing.T) {
	f := storagetest.NewFaulty(new(storage.Memory))
	mine := errors.New("mine")
	f.Hook(func(op storagetest.Op) error {
		if op.Name == "bad" {
			return mine
		}
		return nil
	})
	if err := f.Put(ctx, "good", nil); err != nil {
		t.Error(err)
	}
	if err := f.Put(ctx, "bad", nil); err != mine {
		t.Errorf("%v", err)
	}
}

func TestSlow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := storagetest.NewFaulty(new(storage.Memory), storagetest.Fault{How: storagetest.Slow, Delay: time.Hour, Times: storagetest.Forever})
		start := time.Now()
		if err := f.Put(t.Context(), "x", nil); err != nil || time.Since(start) != time.Hour {
			t.Errorf("after %v: %v", time.Since(start), err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := f.Get(ctx, "x", 0, -1); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("slow beyond the deadline: %v", err)
		}
	})
}

func TestDamage(t *testing.T) {
	st := new(storage.Memory)
	storagetest.Write(t, st, "x", []byte{0, 0, 0})
	storagetest.Flip(t, st, "x", 0)
	storagetest.Flip(t, st, "x", -1)
	if got := storagetest.Read(t, st, "x"); !slices.Equal(got, []byte{1, 0, 128}) {
		t.Errorf("flipped: %v", got)
	}
	storagetest.Truncate(t, st, "x", -1)
	storagetest.Truncate(t, st, "x", 1)
	to := new(storage.Memory)
	storagetest.Copy(t, to, st)
	if got := storagetest.Read(t, to, "x"); !slices.Equal(got, []byte{1}) {
		t.Errorf("cut: %v", got)
	}
}
