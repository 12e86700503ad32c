package backup

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/caddy-backup/caddy-backup/repo"
)

// notes say why snapshots are pinned, by stable ID. Those of a repository are one file in the Store. It is written under an
// exclusive lock of the repository only, so that no two machines write it at once.
type notes map[repo.ID]string

const (
	maxNote  = 500  // characters of a note
	maxNotes = 1000 // of a repository: every list of snapshots reads them
)

func notesKey(repository string) string { return "backup/notes/" + repository + ".json" }

// checkNote takes the white space around a note away. A note is one line that shows what it says: neither control characters nor
// those that turn the direction of a text. ErrInvalid.
func checkNote(text string) (string, error) {
	text = strings.TrimSpace(text)
	bad := func(r rune) bool {
		return unicode.IsControl(r) || unicode.In(r, unicode.Zl, unicode.Zp, unicode.Bidi_Control)
	}
	switch {
	case !utf8.ValidString(text) || strings.ContainsFunc(text, bad):
		return "", fmt.Errorf("%w: a note is one line of plain text, without control characters", ErrInvalid)
	case utf8.RuneCountInString(text) > maxNote:
		return "", fmt.Errorf("%w: a note has at most %d characters", ErrInvalid, maxNote)
	}
	return text, nil
}

// loadNotes reads the notes of the repository with this ID; without any they are empty.
func loadNotes(ctx context.Context, c *setup, repository string) (notes, error) {
	all := notes{}
	data, err := c.Store.Load(ctx, notesKey(repository))
	if errors.Is(err, fs.ErrNotExist) {
		return all, nil
	}
	if err == nil {
		err = json.Unmarshal(data, &all)
	}
	if err != nil {
		return nil, fmt.Errorf("cannot read the notes (%s): %w", notesKey(repository), err)
	}
	return all, nil
}

func (n notes) save(ctx context.Context, c *setup, repository string) error {
	var err error
	if len(n) == 0 {
		if err = c.Store.Delete(ctx, notesKey(repository)); errors.Is(err, fs.ErrNotExist) {
			err = nil
		}
	} else if data, err2 := json.Marshal(n); err2 != nil {
		err = err2
	} else {
		err = c.Store.Store(ctx, notesKey(repository), data)
	}
	if err != nil {
		return fmt.Errorf("cannot keep the notes (%s): %w", notesKey(repository), err)
	}
	return nil
}

// write changes the note of a snapshot; an empty one removes it. ErrConflict when there are too many.
func (n notes) write(id repo.ID, text string) error {
	if text == "" {
		delete(n, id)
		return nil
	}
	if _, had := n[id]; !had && len(n) >= maxNotes {
		return fmt.Errorf("%w: %d snapshots have a note already: unpin some", ErrConflict, maxNotes)
	}
	n[id] = text
	return nil
}

// sweep removes the notes of snapshots that are not there, or not pinned, and reports whether there were any.
func (n notes) sweep(all []repo.Snapshot) (swept bool) {
	for id := range n {
		if !slices.ContainsFunc(all, func(s repo.Snapshot) bool { return s.StableID() == id && pinned(s) }) {
			delete(n, id)
			swept = true
		}
	}
	return swept
}

// sweepNotes removes the notes of snapshots that are gone. What cannot be read, or was removed by others, may come back:
// then they stay. What fails is logged, and tried again by the next run.
func (v *vault) sweepNotes(ctx context.Context, run *runner, repository string, seen *sight, left []repo.Snapshot) {
	if seen.damaged != nil || seen.forgotten != nil || len(seen.alarms) > 0 {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), storeTimeout)
	defer cancel()
	n, err := loadNotes(ctx, run.setup, repository)
	if err == nil && n.sweep(left) {
		err = n.save(ctx, run.setup, repository)
	}
	if err != nil {
		run.log.Warn(err.Error())
	}
}

// annotate writes the notes to those of n snapshots that are pinned.
func (v *vault) annotate(ctx context.Context, c *setup, r *repo.Repository, n int, at func(i int) *Snapshot) {
	var all notes
	for i := range n {
		s := at(i)
		id, err := repo.ParseID(s.StableID)
		if err != nil || !slices.Contains(s.Tags, tagKeep) {
			continue
		}
		if all == nil {
			if all, err = loadNotes(ctx, c, r.Config().ID); err != nil {
				v.base.Logger.Warn(err.Error())
				return
			}
		}
		s.Note = all[id]
	}
}
