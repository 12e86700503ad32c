package repo

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"path"
	"slices"
	"sync"
)

// maxUnpacked bounds snapshots, index files and locks, sealed as well as decompressed, in bytes. restic 0.14 makes
// index files of up to some 30 MiB.
const maxUnpacked = 64 << 20

// frameZstd is the first byte of an unpacked file of version 2 whose rest is compressed.
const frameZstd = 0x02

// saveUnpacked stores JSON as a file of dir ("snapshots", "index", "locks"): framed (version 2: 0x02 and zstd), sealed,
// decoded again from the upload buffer and compared, and only then put. Returns the file's ID.
func (r *Repository) saveUnpacked(ctx context.Context, dir string, json []byte) (ID, error) {
	id, sealed, err := r.sealUnpacked(json)
	if err != nil {
		return ID{}, fmt.Errorf("new file for %s: %w", dir, err)
	}
	name := dir + "/" + id.String()
	if err := r.storage.Put(ctx, name, sealed); err != nil {
		return ID{}, fmt.Errorf("cannot store %s%s: %w", name, r.at(), err)
	}
	return id, nil
}

// sealUnpacked gives the bytes of such a file and its ID, proved to be readable.
func (r *Repository) sealUnpacked(json []byte) (ID, []byte, error) {
	framed := json
	if r.config.Version > 1 {
		c := r.codecs.compressor()
		defer r.codecs.putCompressor(c)
		framed = c.compress(append(make([]byte, 0, len(json)/2+64), frameZstd), json)
	}
	sealed := r.key.seal(nil, framed)
	back, err := r.openUnpacked(sealed)
	if err != nil {
		return ID{}, nil, fmt.Errorf("verifying it before the upload: %w", err)
	}
	if !bytes.Equal(back, json) {
		return ID{}, nil, fmt.Errorf("verifying it before the upload: %w: it does not decode to what it was made of", ErrDamaged)
	}
	return Hash(sealed), sealed, nil
}

// loadUnpacked reads such a file: its hash must be its name, its MAC must fit, its framing must be known, its
// decompressed size within bounds. Returns the JSON.
func (r *Repository) loadUnpacked(ctx context.Context, dir string, id ID) ([]byte, error) {
	name := dir + "/" + id.String()
	sealed, err := r.storage.Get(ctx, name, 0, -1)
	if err != nil {
		return nil, fmt.Errorf("cannot read %s%s: %w", name, r.at(), err)
	}
	if Hash(sealed) != id {
		return nil, fmt.Errorf("file %s%s: %w: its content does not fit its name", name, r.at(), ErrDamaged)
	}
	json, err := r.openUnpacked(sealed)
	if err != nil {
		return nil, fmt.Errorf("file %s%s: %w", name, r.at(), err)
	}
	return json, nil
}

// openUnpacked undoes sealUnpacked. Version 2 may hold plain JSON too, from before an upgrade.
func (r *Repository) openUnpacked(sealed []byte) ([]byte, error) {
	framed, err := r.key.open(nil, sealed)
	switch {
	case err != nil:
		return nil, err
	case len(framed) == 0:
		return nil, fmt.Errorf("%w: it is empty", ErrDamaged)
	case framed[0] == '{' || framed[0] == '[' || r.config.Version == 1 && framed[0] != frameZstd:
		return framed, nil
	case framed[0] != frameZstd || r.config.Version == 1:
		return nil, fmt.Errorf("%w: its first byte is %#x, no encoding of version %d", ErrDamaged, framed[0], r.config.Version)
	}
	d := r.codecs.decompressor()
	defer r.codecs.putDecompressor(d)
	return d.decompress(nil, framed[1:], maxUnpacked)
}

// codecs keeps compressors and decompressors of unpacked files for reuse. The zero value is ready to use.
type codecs struct{ compressors, decompressors sync.Pool }

func (c *codecs) compressor() *compressor {
	if z, ok := c.compressors.Get().(*compressor); ok {
		return z
	}
	return newCompressor(CompressionAuto)
}

func (c *codecs) decompressor() *decompressor {
	if z, ok := c.decompressors.Get().(*decompressor); ok {
		return z
	}
	return newDecompressor()
}

func (c *codecs) putCompressor(z *compressor)     { c.compressors.Put(z) }
func (c *codecs) putDecompressor(z *decompressor) { c.decompressors.Put(z) }

// listFiles lists the files of dir whose name is an ID, in order of name. Others are leftovers of interrupted uploads
// or nothing of ours.
func listFiles(ctx context.Context, st Storage, dir string) ([]FileInfo, error) {
	var files []FileInfo
	for f, err := range st.List(ctx, dir) {
		if err != nil {
			return nil, fmt.Errorf("cannot list %s: %w", dir, err)
		}
		if _, err := ParseID(path.Base(f.Name)); err == nil && path.Dir(f.Name) == dir {
			files = append(files, f)
		}
	}
	slices.SortFunc(files, func(a, b FileInfo) int { return cmp.Compare(a.Name, b.Name) })
	return files, nil
}
