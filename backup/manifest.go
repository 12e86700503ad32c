package backup

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/caddy-backup/caddy-backup/repo"
)

// Manifest is manifest.json in a snapshot.
type Manifest struct {
	Format   int               `json:"format"` // 1
	Job      string            `json:"job"`
	Run      string            `json:"run"`
	Host     string            `json:"host"`
	Started  time.Time         `json:"started"`
	Ended    time.Time         `json:"ended"`            // of the last dump
	Outcome  string            `json:"outcome"`          // "ok" or "suspect"
	Doubts   []string          `json:"doubts,omitempty"` // why it is suspect
	Chunker  string            `json:"chunker"`          // version of the chunker: "gear-1"
	Versions map[string]string `json:"versions"`
	Parts    []ManifestPart    `json:"parts"`
	Drilled  *Drilled          `json:"drilled,omitempty"`  // the newest drill of the job that went well before it
	Imported *Imported         `json:"imported,omitempty"` // of a dump that was there before, made by others

	// RestoredThen is the stable ID of the snapshot that a restore was about to put there: of a safety snapshot, unless it was a file.
	RestoredThen string `json:"restored_then,omitempty"`
}

// Imported says where the dump of an imported snapshot comes from.
type Imported struct {
	File     string    `json:"file"`              // its path
	Packing  string    `json:"packing,omitempty"` // "gzip", "bzip2", "zstd"; it is stored unpacked
	TimeFrom string    `json:"time_from"`         // "its name", "the day in its name", "its time of change"
	At       time.Time `json:"at"`                // when it was imported
}

// ManifestPart is one part in the manifest.
type ManifestPart struct {
	Name   string `json:"name"`
	Source string `json:"source"` // the source's name in the job
	Kind   string `json:"kind"`
	Folder bool   `json:"folder,omitempty"`
	Media  string `json:"media,omitempty"`
	Size   int64  `json:"size"`             // bytes; of a folder: the sum of its files
	Files  int64  `json:"files,omitempty"`  // of a folder
	SHA256 string `json:"sha256,omitempty"` // of a file's content
	Tree   string `json:"tree,omitempty"`   // of a folder: the ID of its tree
	Facts
}

// The files that every snapshot of ours has beside its parts.
const (
	manifestName   = "manifest.json"
	manifestFormat = 1
	maxManifest    = 16 << 20 // bytes that we read
)

// part finds a part by name.
func (m *Manifest) part(name string) *ManifestPart {
	if m == nil {
		return nil
	}
	if i := slices.IndexFunc(m.Parts, func(p ManifestPart) bool { return p.Name == name }); i >= 0 {
		return &m.Parts[i]
	}
	return nil
}

// sameContent reports whether two manifests describe equal parts.
func sameContent(a, b *Manifest) bool {
	return slices.EqualFunc(a.Parts, b.Parts, func(x, y ManifestPart) bool {
		return x.Name == y.Name && x.Folder == y.Folder && x.SHA256 == y.SHA256 && x.Tree == y.Tree && (x.SHA256 != "" || x.Tree != "")
	})
}

// loadManifest reads the manifest of a snapshot of ours.
func loadManifest(ctx context.Context, r *repo.Repository, s repo.Snapshot) (*Manifest, error) {
	node, err := r.Lookup(ctx, s.Tree, jobOf(s)+"/"+manifestName)
	if err != nil {
		return nil, err
	}
	if node.Size > maxManifest {
		return nil, fmt.Errorf("%s has %d bytes: %w", manifestName, node.Size, repo.ErrDamaged)
	}
	f, err := r.OpenFile(ctx, node)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.NewSectionReader(f, 0, f.Size())) // through the cache: every download asks for it
	if err != nil {
		return nil, err
	}
	m := new(Manifest)
	if err := json.Unmarshal(data, m); err != nil {
		return nil, fmt.Errorf("%s: %w: %w", manifestName, repo.ErrDamaged, err)
	}
	if m.Format != manifestFormat {
		return nil, fmt.Errorf("%s has format %d, which is not known here: %w", manifestName, m.Format, repo.ErrUnsupported)
	}
	return m, nil
}
