package backup

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"
	"strings"
	"sync"

	"github.com/caddy-backup/caddy-backup/repo"
)

// sourcePart is a part and the source that it is of.
type sourcePart struct {
	Part
	source NamedSource
}

// parts asks all sources what there will be, before anything is dumped.
func (b *backupRun) parts(ctx context.Context) ([]sourcePart, error) {
	var all []sourcePart
	taken := map[string]string{manifestName: "every snapshot", sumsName: "every snapshot"}
	for _, s := range b.job.Sources {
		b.setStep("asking source " + s.Name)
		var parts []Part
		err := b.guard(ctx, "parts of source "+s.Name, func() (err error) {
			parts, err = s.Parts(ctx, s.Name)
			return err
		})
		if err == nil && len(parts) == 0 {
			err = errors.New("it has nothing to dump")
		}
		if err != nil {
			return nil, fmt.Errorf("source %s: %w", s.Name, err)
		}
		for _, p := range parts {
			if err := checkPart(p.Name); err != nil {
				return nil, fmt.Errorf("source %s: %w", s.Name, err)
			}
			if other, ok := taken[p.Name]; ok {
				return nil, fmt.Errorf("source %s: its part %s has the name of one of %s: rename the source, or what names its "+
					"file (`file` of a command)", s.Name, p.Name, other)
			}
			taken[p.Name] = "source " + s.Name
			if slices.Contains(b.absent, p.Name) {
				continue
			}
			all = append(all, sourcePart{p, s})
		}
	}
	return all, nil
}

func checkPart(name string) error {
	if len(name) > 255 || name == "." || !fs.ValidPath(name) || strings.ContainsAny(name, "/\x00") {
		return fmt.Errorf("%w: %q cannot be the name of a part", ErrInvalid, name)
	}
	return nil
}

// dump stores one part, and notes what is to be known of it.
func (b *backupRun) dump(ctx context.Context, p sourcePart) (err error) {
	m := ManifestPart{Name: p.Name, Source: p.source.Name, Kind: p.source.Kind, Folder: p.Folder}
	if p.Folder {
		err = b.dumpFolder(ctx, p, &m)
	} else {
		err = b.dumpFile(ctx, p, &m)
	}
	if err != nil {
		return err
	}
	for _, note := range m.Notes {
		b.log.Warn(note, "part", p.Name)
	}
	b.log.Info("part dumped", "part", p.Name, "source", p.source.Name, "bytes", m.Size, "checked", m.Checked)
	b.manifest.Parts = append(b.manifest.Parts, m)
	return nil
}

func (b *backupRun) dumpFile(ctx context.Context, p sourcePart, m *ManifestPart) error {
	m.Media = p.Media
	if m.Media == "" {
		m.Media = defaultMedia
	}
	f, err := b.folder.Create(b.node(p.Name))
	if err != nil {
		return err
	}
	w := &partWriter{to: f}
	err = b.guard(ctx, "dump of "+p.Name, func() (err error) {
		m.Facts, err = p.source.Dump(ctx, p.Part, w, b.task())
		return err
	})
	if err != nil {
		return w.blame(err)
	}
	sum, err := closeFile(f)
	if err != nil {
		return err
	}
	if sum.Size == 0 {
		return errors.New("the dump is empty: not one byte came")
	}
	m.Size, m.SHA256 = sum.Size, sum.SHA256.String()
	b.sums.add(p.Name, sum)
	return nil
}

func (b *backupRun) dumpFolder(ctx context.Context, p sourcePart, m *ManifestPart) error {
	source, ok := p.source.Source.(FolderSource)
	if !ok {
		return fmt.Errorf("a source of kind %s cannot dump folders", p.source.Kind)
	}
	var root repo.Node
	err := b.guard(ctx, "look at "+p.Name, func() (err error) { // a dead network disk would hold us for ever
		root, err = source.Root(p.Part)
		return err
	})
	if err != nil {
		return err
	}
	root.Name = p.Name
	dir, err := b.folder.Mkdir(root)
	if err != nil {
		return err
	}
	dir.OnFile(func(path string, sum repo.FileSum) {
		m.Files++
		m.Size += sum.Size
		b.sums.add(p.Name+"/"+path, sum)
	})
	err = b.guard(ctx, "dump of "+p.Name, func() (err error) {
		m.Facts, err = source.DumpFolder(ctx, p.Part, dir, b.task())
		return err
	})
	if err != nil {
		return err
	}
	tree, err := dir.Close()
	m.Tree = tree.String()
	if m.Files == 0 {
		m.Notes = append(slices.Clip(m.Notes), "the folder holds no file")
	}
	return err
}

// partWriter is what a source writes into. It remembers why writing failed: a program whose output nobody takes any
// more dies of a broken pipe, and would be blamed for a full disk.
type partWriter struct {
	to *repo.FileWriter

	mu    sync.Mutex
	fault error
}

var _ io.ReaderFrom = (*partWriter)(nil)

func (w *partWriter) Write(p []byte) (int, error) {
	n, err := w.to.Write(p)
	return n, w.note(err)
}

// ReadFrom lets io.Copy read straight into the chunks.
func (w *partWriter) ReadFrom(r io.Reader) (int64, error) {
	from := &faultReader{Reader: r}
	n, err := w.to.ReadFrom(from)
	if from.fault == nil {
		w.note(err)
	}
	return n, err
}

func (w *partWriter) note(err error) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.fault == nil {
		w.fault = err
	}
	return err
}

// cause is the failure of the repository, if there was one.
func (w *partWriter) cause() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.fault
}

// blame puts the failure of the repository before what the source says about it.
func (w *partWriter) blame(err error) error {
	fault := w.cause()
	if fault == nil || errors.Is(err, fault) {
		return err
	}
	return fmt.Errorf("%w (the source says: %w)", fault, err)
}

// faultReader remembers an error of its reader.
type faultReader struct {
	io.Reader
	fault error
}

func (r *faultReader) Read(p []byte) (int, error) {
	n, err := r.Reader.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		r.fault = err
	}
	return n, err
}
