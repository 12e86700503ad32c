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
// decoded again from the upload buffer and compared, and only then put. Returns the file's ID, also when
// only the put has failed.
func (r *Repository) saveUnpacked(ctx context.Context, dir string, json []byte) (ID, error) {
	id, sealed, err := r.sealUnpacked(json)
	if err != nil {
		return ID{}, fmt.Errorf("new file for %s: %w", dir, err)
	}
	name := dir + "/" + id.String()
	if err := r.storage.Put(ctx, name, sealed); err != nil {
		return id, fmt.Errorf("cannot store %s%s: %w", name, r.at(), err)
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
	u := r.codecs.unpacker()
	defer r.codecs.putUnpacker(u)
	back, err := r.openUnpacked(u, sealed)
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
	u := r.codecs.unpacker()
	defer r.codecs.putUnpacker(u)
	json, err := r.loadUnpackedInto(ctx, u, dir, id)
	return bytes.Clone(json), err
}

// loadUnpackedInto is loadUnpacked whose result is valid until u is used again: index files are large and many.
func (r *Repository) loadUnpackedInto(ctx context.Context, u *unpacker, dir string, id ID) ([]byte, error) {
	name := dir + "/" + id.String()
	sealed, err := r.storage.Get(ctx, name, 0, -1)
	if err != nil {
		return nil, fmt.Errorf("cannot read %s%s: %w", name, r.at(), err)
	}
	if Hash(sealed) != id {
		return nil, fmt.Errorf("file %s%s: %w: its content does not fit its name", name, r.at(), ErrDamaged)
	}
	json, err := r.openUnpacked(u, sealed)
	if err != nil {
		return nil, fmt.Errorf("file %s%s: %w", name, r.at(), err)
	}
	return json, nil
}

// openUnpacked undoes sealUnpacked; the result is valid until u is used again. Version 2 may hold plain JSON too, from
// before an upgrade.
func (r *Repository) openUnpacked(u *unpacker, sealed []byte) ([]byte, error) {
	framed, err := r.key.open(u.framed[:0], sealed)
	switch {
	case err != nil:
		return nil, err
	case len(framed) == 0:
		return nil, fmt.Errorf("%w: it is empty", ErrDamaged)
	}
	u.framed = framed
	switch first := framed[0]; {
	case first == '{' || first == '[' || r.config.Version == 1 && first != frameZstd:
		return framed, nil
	case first != frameZstd || r.config.Version == 1:
		return nil, fmt.Errorf("%w: its first byte is %#x, no encoding of version %d", ErrDamaged, first, r.config.Version)
	}
	json, err := u.decompressor.decompress(u.json[:0], framed[1:], maxUnpacked)
	if err != nil {
		return nil, err
	}
	u.json = json
	return json, nil
}

// unpacker has what opening an unpacked file takes. Not for use by several goroutines at once.
type unpacker struct {
	decompressor *decompressor
	framed, json []byte // buffers
}

// codecs keeps what unpacked files are made and read with for reuse. The zero value is ready to use.
type codecs struct{ compressors, unpackers sync.Pool }

func (c *codecs) compressor() *compressor {
	if z, ok := c.compressors.Get().(*compressor); ok {
		return z
	}
	return newCompressor(CompressionAuto)
}

func (c *codecs) unpacker() *unpacker {
	if u, ok := c.unpackers.Get().(*unpacker); ok {
		return u
	}
	return &unpacker{decompressor: newDecompressor()}
}

func (c *codecs) putCompressor(z *compressor) { c.compressors.Put(z) }
func (c *codecs) putUnpacker(u *unpacker)     { c.unpackers.Put(u) }

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
