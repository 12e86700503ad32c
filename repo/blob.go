package repo

import (
	"context"
	"errors"
	"fmt"
)

// readBlob reads and verifies one blob, appended to dst, going through its copies when one is damaged.
func (r *Repository) readBlob(ctx context.Context, t BlobType, id ID, dst []byte, s *scratch) ([]byte, error) {
	return r.readBlobAs(ctx, plain, t, id, dst, s)
}

// readBlobAs is readBlob for any form.
func (r *Repository) readBlobAs(ctx context.Context, f form, t BlobType, id ID, dst []byte, s *scratch) ([]byte, error) {
	copies := r.places(t, id)
	if len(copies) == 0 {
		return nil, fmt.Errorf("%s %s is in no index: %w", t, id.Short(), ErrDamaged)
	}
	var failed error
	for _, l := range copies {
		sealed, err := r.storage.Get(ctx, packName(l.Pack), int64(l.Offset), int64(l.Length))
		if err == nil {
			var opened []byte // not dst: after a damaged copy the next one must still be appended to what was there
			if opened, err = f.open(r, dst, l.packedBlob, sealed, s); err == nil {
				return opened, nil
			}
		}
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		failed = errors.Join(failed, fmt.Errorf("%s %s in pack %s: %w", t, id.Short(), l.Pack, err))
	}
	return nil, failed
}

// openBlob turns a sealed blob into its plaintext, appended to dst. MAC, length and SHA-256 are proved; anything else
// is ErrDamaged, and no byte is returned.
func (r *Repository) openBlob(dst []byte, b packedBlob, sealed []byte, s *scratch) ([]byte, error) {
	start, err := len(dst), error(nil)
	if b.Uncompressed == 0 {
		dst, err = r.key.open(dst, sealed)
	} else {
		if s.packed, err = r.key.open(s.packed[:0], sealed); err != nil {
			return nil, err
		}
		dst, err = s.decompressor.decompress(dst, s.packed, b.plainLength())
	}
	if err != nil {
		return nil, err
	}
	if n := len(dst) - start; n != b.plainLength() {
		return nil, fmt.Errorf("blob is %d bytes long, not %d as listed: %w", n, b.plainLength(), ErrDamaged)
	}
	if Hash(dst[start:]) != b.ID {
		return nil, fmt.Errorf("blob's content does not have its hash: %w", ErrDamaged)
	}
	return dst, nil
}
