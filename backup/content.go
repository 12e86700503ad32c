package backup

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path"
	"strings"
	"time"

	"github.com/caddy-backup/caddy-backup/repo"
)

// Content is a file or folder in a snapshot.
type Content struct {
	Name   string    `json:"name"`
	Path   string    `json:"path"` // from the root of the snapshot: "/shop/db.dump"
	Type   string    `json:"type"` // file, dir, symlink …
	Size   int64     `json:"size"`
	Mode   string    `json:"mode"` // "-rw-r--r--"
	Time   time.Time `json:"time"`
	SHA256 string    `json:"sha256,omitempty"` // of parts that are files
	Target string    `json:"target,omitempty"` // of symlinks
}

// List lists a folder of a snapshot, in order of name. id as for Snapshot; path from the root of the snapshot, or
// without a leading slash from the folder of the job too.
func (s *Service) List(ctx context.Context, repository, id, path string) ([]Content, error) {
	leave, err := s.listing.enter(ctx)
	if err != nil {
		return nil, err
	}
	defer leave()
	var list []Content
	err = s.at(ctx, repository, id, path, func(p placed) error {
		var m *Manifest
		if job := jobOf(p.snapshot); job != "" && p.full == "/"+job {
			m, _ = loadManifest(ctx, p.repo, p.snapshot) // without it the list has no SHA-256
		}
		var err error
		list, err = listFolder(ctx, p.repo, p.node, p.full, m)
		return err
	})
	return list, err
}

// resolve finds a path in a snapshot and returns its node and its path from the root. One without a leading slash is
// looked up in the folder of the job first: it may name a part.
func resolve(ctx context.Context, r *repo.Repository, s repo.Snapshot, p string) (repo.Node, string, error) {
	full := tidy(p)
	job := jobOf(s)
	if p == "" || strings.HasPrefix(p, "/") || job == "" {
		node, err := r.Lookup(ctx, s.Tree, full)
		return node, full, err
	}
	inJob := tidy(job + "/" + p)
	node, err := r.Lookup(ctx, s.Tree, inJob)
	if errors.Is(err, repo.ErrNotFound) || errors.Is(err, repo.ErrNotFolder) {
		if node, err := r.Lookup(ctx, s.Tree, full); err == nil {
			return node, full, nil
		}
	}
	return node, inJob, err
}

// tidy gives a path one leading slash and single ones between names. Names are raw: "." and ".." mean nothing.
func tidy(p string) string {
	names := strings.FieldsFunc(p, func(r rune) bool { return r == '/' })
	return "/" + strings.Join(names, "/")
}

// listFolder lists a folder at a full path; parts get their SHA-256 from the manifest.
func listFolder(ctx context.Context, r *repo.Repository, folder repo.Node, full string, m *Manifest) ([]Content, error) {
	if folder.Subtree == nil {
		return nil, fmt.Errorf("%s: %w", full, repo.ErrNotFolder)
	}
	nodes, err := r.LoadTree(ctx, *folder.Subtree)
	if err != nil {
		return nil, err
	}
	list := make([]Content, len(nodes))
	for i, n := range nodes {
		list[i] = contentOf(n, path.Join(full, n.Name))
		if p := m.part(n.Name); p != nil {
			list[i].SHA256 = p.SHA256
		}
	}
	return list, nil
}

func contentOf(n repo.Node, full string) Content {
	return Content{
		Name: n.Name, Path: full, Type: n.Type, Size: int64(n.Size), Mode: n.Mode.String(), Time: n.ModTime.UTC(),
		Target: n.LinkTarget,
	}
}

// Opened is a file of a snapshot, ready to be read. Close it.
type Opened struct {
	*repo.File
	Content
	Snapshot Snapshot
	Media    string // MIME type
	Filename string // for people who save it: <job>_<date>_<time>Z.<part>
	Version  string // of the content: another content has another one. Made of letters and digits
}

var _ io.Reader = (*Opened)(nil)

// Open opens a file of a snapshot; id and path as for List. Reading ends when ctx is done.
func (s *Service) Open(ctx context.Context, repository, id, path string) (*Opened, error) {
	var o *Opened
	err := s.at(ctx, repository, id, path, func(p placed) (err error) {
		o, err = p.open(ctx)
		return err
	})
	return o, err
}

// placed is a node of a snapshot, and where it is.
type placed struct {
	vault    *vault
	repo     *repo.Repository
	snapshot repo.Snapshot
	node     repo.Node
	full     string // path from the root of the snapshot
}

// at finds a node, id and path as for List, and does something with it, maybe twice: see vault.read.
func (s *Service) at(ctx context.Context, repository, id, path string, do func(placed) error) error {
	c, v, err := s.vault(repository)
	if err != nil {
		return err
	}
	return v.read(ctx, c, func(r *repo.Repository) error {
		raw, err := r.FindSnapshot(ctx, id, repo.SnapshotFilter{})
		if err != nil {
			return err
		}
		node, full, err := resolve(ctx, r, raw, path)
		if err != nil {
			return err
		}
		return do(placed{v, r, raw, node, full})
	})
}

// openIn opens a file of a snapshot.
func (v *vault) openIn(ctx context.Context, r *repo.Repository, s repo.Snapshot, path string) (*Opened, error) {
	node, full, err := resolve(ctx, r, s, path)
	if err != nil {
		return nil, err
	}
	return placed{v, r, s, node, full}.open(ctx)
}

// open opens a file.
func (p placed) open(ctx context.Context) (*Opened, error) {
	f, err := p.repo.OpenFile(ctx, p.node)
	if err != nil {
		return nil, err
	}
	o := &Opened{File: f, Content: contentOf(p.node, p.full), Snapshot: snapshotOf(p.vault, p.snapshot)}
	o.describe(ctx, p.repo, p.snapshot)
	return o, nil
}

const defaultMedia = "application/octet-stream"

// describe fills in what a download says about the file.
func (o *Opened) describe(ctx context.Context, r *repo.Repository, s repo.Snapshot) {
	o.Media, o.Filename = defaultMedia, o.Name
	o.Version = o.ContentID().String()
	job := jobOf(s)
	if job == "" || o.Path != "/"+job+"/"+o.Name {
		return
	}
	switch o.Name {
	case manifestName:
		o.Media = "application/json"
		return
	case sumsName:
		o.Media = "text/plain; charset=utf-8"
		return
	}
	m, _ := loadManifest(ctx, r, s) // without it the file is as good, but less is known of it
	p := m.part(o.Name)
	if p == nil || p.Size != o.Content.Size {
		return
	}
	o.Filename = dated(job, s) + "." + p.Name
	o.SHA256, o.Version = p.SHA256, p.SHA256
	if p.Media != "" {
		o.Media = p.Media
	}
}

// dated is how the name of a download of a snapshot begins.
func dated(job string, s repo.Snapshot) string {
	return job + "_" + s.Time.UTC().Format("2006-01-02_15-04-05") + "Z"
}
