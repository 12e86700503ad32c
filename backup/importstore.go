package backup

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"

	"github.com/dustin/go-humanize"

	"github.com/caddy-backup/caddy-backup/repo"
)

// one imports a file, if it is not there yet. An error that is about the file alone is a *fileError.
func (x *importRun) one(ctx context.Context, f importFile) error {
	if x.request.DryRun {
		return x.look(ctx, f)
	}
	over := x.task().Quiet() // a backup of hours may be before us
	err := x.vault.gate.enter(ctx, x.runner)
	if over(); err != nil {
		return err
	}
	defer x.vault.gate.leave()
	b := &backupRun{runner: x.runner, vault: x.vault, job: x.job, start: f.time.at}
	return b.prepare(ctx, func(ctx context.Context) error {
		s, err := x.imported(ctx, b.repo, f)
		if err != nil {
			return err
		}
		if s != nil {
			x.isThere(f, s)
			return nil
		}
		x.begun(b)
		x.setStep("importing " + f.path)
		return x.store(ctx, b, f)
	})
}

func (x *importRun) isThere(f importFile, s *repo.Snapshot) {
	x.there++
	x.note(f, "it is there already, as snapshot %s", s.ID.Short())
}

// look says what would be done with a file.
func (x *importRun) look(ctx context.Context, f importFile) error {
	var found *repo.Snapshot
	err := x.vault.read(ctx, x.setup, func(r *repo.Repository) (err error) {
		found, err = x.imported(ctx, r, f)
		return err
	})
	if err != nil && !errors.Is(err, repo.ErrNoRepository) { // without one, nothing is there
		return err
	}
	if found != nil {
		x.isThere(f, found)
		return nil
	}
	d, err := openDump(ctx, f.path, func(int64) {})
	if err != nil {
		return ofFile(err)
	}
	defer d.Close()
	x.made++
	x.note(f, "it would be imported, %s%s", humanize.IBytes(uint64(f.size)), packed(d))
	return nil
}

func packed(d *dumpFile) string {
	if d.packing == "" {
		return ""
	}
	return " packed with " + d.packing
}

// store makes the snapshot of a file. Only when the file, and the verifier of its source, have nothing against it, is
// there one.
func (x *importRun) store(ctx context.Context, b *backupRun, f importFile) error {
	b.parent = nil // the newest snapshot says nothing of what was long before
	if err := b.openFolder(); err != nil {
		return err
	}
	p := x.part
	m := ManifestPart{Name: p.Name, Source: p.source.Name, Kind: p.source.Kind, Media: p.Media}
	d, err := openDump(ctx, f.path, func(n int64) { x.read.Add(n) })
	if err != nil {
		return ofFile(err)
	}
	defer d.Close()
	if err := x.fill(ctx, b, d, &m); err != nil {
		return err
	}
	b.manifest.Parts = []ManifestPart{m}
	b.manifest.Ended = b.manifest.Started
	b.manifest.Imported = &Imported{File: f.path, Packing: d.packing, TimeFrom: f.time.from, At: x.service.now().UTC()}
	if err := b.describe(); err != nil {
		return err
	}
	s, err := b.store(ctx, tagImport)
	if err != nil {
		return err
	}
	x.made++
	x.update(func(run *Run) { run.Snapshot = s.ID.String() })
	x.note(f, "imported as snapshot %s, %s%s; %s", s.ID.Short(), humanize.IBytes(uint64(m.Size)), packed(d), m.Checked)
	return nil
}

// fill stores the dump, and notes what is to be known of it.
func (x *importRun) fill(ctx context.Context, b *backupRun, d *dumpFile, m *ManifestPart) error {
	if m.Media == "" {
		m.Media = defaultMedia
	}
	to, err := b.folder.Create(b.node(m.Name))
	if err != nil {
		return err
	}
	w := &partWriter{to: to}
	m.Facts, err = x.copy(ctx, d, w)
	if fault := w.cause(); fault != nil {
		return fault
	}
	if err == nil {
		err = d.finish()
	}
	if err != nil {
		return ofFile(err)
	}
	sum, err := closeFile(to)
	if err != nil {
		return err
	}
	if sum.Size == 0 {
		return ofFile(errors.New("it is empty: not one byte is in it"))
	}
	m.Size, m.SHA256 = sum.Size, sum.SHA256.String()
	m.Checked = d.checked + m.Checked
	b.sums.add(m.Name, sum)
	return nil
}

// copy copies the dump, beside the verifier of its source if that has one.
func (x *importRun) copy(ctx context.Context, d io.Reader, w io.Writer) (Facts, error) {
	v, ok := x.part.source.Source.(Verifier)
	if !ok {
		_, err := io.Copy(w, d)
		return Facts{}, err
	}
	var facts Facts // not looked at when the verifier was left behind
	theirs, tee := io.Pipe()
	verified := make(chan error, 1)
	go func() {
		err := x.guard(ctx, "check of "+x.part.Name, func() (err error) {
			facts, err = v.Verify(ctx, x.part.Part, theirs, x.task())
			return err
		})
		theirs.CloseWithError(err) // the copy does not wait for somebody who reads no more
		verified <- err
	}()
	from := &faultReader{Reader: d}
	_, err := io.Copy(io.MultiWriter(w, tee), from)
	tee.CloseWithError(err)
	judged := <-verified
	switch {
	case from.fault != nil:
		return Facts{}, from.fault
	case judged != nil && (err == nil || errors.Is(err, judged)):
		return Facts{}, fmt.Errorf("it is not whole, or no dump of a source of kind %s: %w", x.part.source.Kind, judged)
	case err != nil:
		return Facts{}, err
	}
	facts.Checked = "; " + facts.Checked
	return facts, nil
}

// hash is the SHA-256 of the dump in a file, in hexadecimal.
func (x *importRun) hash(ctx context.Context, f importFile) (string, error) {
	d, err := openDump(ctx, f.path, func(n int64) { x.read.Add(n) })
	if err != nil {
		return "", ofFile(err)
	}
	defer d.Close()
	h := sha256.New()
	if _, err := io.Copy(h, d); err != nil {
		return "", ofFile(err)
	}
	if err := d.finish(); err != nil {
		return "", ofFile(err)
	}
	x.read.Store(0)
	return hex.EncodeToString(h.Sum(nil)), nil
}
