package backup

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"time"

	"github.com/caddy-backup/caddy-backup/repo"
)

// reads is which packs of a repository checks have read, and when. It is kept in the Store, so that checks of a part
// of the data reach all of it one after the other.
//
// Turns are numbers of runs: they give an order that no clock can spoil.
type reads struct {
	repository string
	turn       uint32 // of the run going on
	packs      map[packKey]packRead
}

// packKey is the beginning of a pack's ID, which is a hash: enough to tell packs apart, and a quarter of the room.
type packKey [8]byte

// packRead is when a pack was read.
type packRead struct {
	turn uint32 // of the run that read it last; when none did, that before the run which saw it first
	at   uint32 // seconds since 1970; 0: never read, or not found whole
}

func keyOf(id repo.ID) packKey { return packKey(id[:]) }

// of is what is known of a pack. One that was never seen has its turn after those that were read before the last run.
func (r *reads) of(id repo.ID) packRead {
	if p, ok := r.packs[keyOf(id)]; ok {
		return p
	}
	return packRead{turn: r.turn - 1}
}

// overdue reports whether a pack has waited for so many runs.
func (r *reads) overdue(id repo.ID, runs uint32) bool {
	return runs > 0 && r.turn-r.of(id).turn >= runs
}

// update takes in what a check read. Packs that are gone are forgotten.
func (r *reads) update(report *repo.CheckReport, now time.Time) {
	next := make(map[packKey]packRead, len(report.Listed))
	for _, p := range report.Listed {
		next[keyOf(p.ID)] = r.of(p.ID)
	}
	for _, id := range report.DamagedPacks {
		if _, listed := next[keyOf(id)]; listed {
			next[keyOf(id)] = packRead{turn: r.turn}
		}
	}
	for _, id := range report.Whole {
		next[keyOf(id)] = packRead{r.turn, uint32(max(now.Unix(), 1))}
	}
	r.packs = next
}

// proven tells how much of the data was read at least once, from 0 to 1, and since when; the time of the oldest reading.
func (r *reads) proven(packs []repo.PackInfo) (share float64, since time.Time) {
	var read, oldest int64
	for _, p := range packs {
		at := int64(r.of(p.ID).at)
		if at == 0 {
			continue
		}
		read += p.Size
		if oldest == 0 || at < oldest {
			oldest = at
		}
	}
	if read == 0 {
		return 0, time.Time{}
	}
	return float64(read) / float64(packBytes(packs)), time.Unix(oldest, 0)
}

// readsFile is the form in the Store. Packs are records of 16 bytes: the key, the turn, the time.
type readsFile struct {
	Repository string `json:"repository"`
	Turn       uint32 `json:"turn"`
	Packs      []byte `json:"packs"`
}

const readsRecord = 16

func readsKey(location string) string { return "backup/reads/" + locationKey(location) + ".json" }

// loadReads loads what is known of the open repository, and begins the next turn. What cannot be loaded is begun anew.
func (v *vault) loadReads(ctx context.Context, c *setup, r *repo.Repository) *reads {
	known := &reads{repository: r.Config().ID, packs: map[packKey]packRead{}}
	var file readsFile
	data, err := c.Store.Load(ctx, readsKey(v.location))
	if err == nil {
		err = json.Unmarshal(data, &file)
	}
	switch {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		v.base.Logger.Warn("cannot tell which data earlier checks have read; begins anew", "key", readsKey(v.location), "error", err)
	case file.Repository == known.repository:
		known.turn = file.Turn
		known.decode(file.Packs)
	}
	known.turn++
	return known
}

func (r *reads) decode(records []byte) {
	for ; len(records) >= readsRecord; records = records[readsRecord:] {
		p := packRead{binary.LittleEndian.Uint32(records[8:]), binary.LittleEndian.Uint32(records[12:])}
		if p.turn <= r.turn {
			r.packs[packKey(records)] = p
		}
	}
}

func (r *reads) encode() []byte {
	records := make([]byte, 0, len(r.packs)*readsRecord)
	for key, p := range r.packs {
		records = append(records, key[:]...)
		records = binary.LittleEndian.AppendUint32(records, p.turn)
		records = binary.LittleEndian.AppendUint32(records, p.at)
	}
	return records
}

// saveReads keeps them. That this fails is no reason to call a check failed: the next one reads the same again.
func (v *vault) saveReads(ctx context.Context, c *setup, r *reads) {
	data, err := json.Marshal(readsFile{r.repository, r.turn, r.encode()})
	if err == nil {
		err = c.Store.Store(ctx, readsKey(v.location), data)
	}
	if err != nil {
		v.base.Logger.Warn("cannot keep which data this check has read; the next one reads the same again", "error", err)
	}
}

// share is a part of the whole in percent, never rounded up to all.
func share(part float64) string {
	switch p := part * 100; {
	case p >= 100:
		return "100%"
	case p >= 10:
		return fmt.Sprintf("%d%%", int(p))
	default:
		return fmt.Sprintf("%.1f%%", float64(int(p*10))/10)
	}
}
