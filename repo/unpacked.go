package repo

import "context"

// saveUnpacked stores JSON as a file of dir ("snapshots", "index", "locks"): framed (version 2: 0x02 and zstd), sealed,
// decoded again from the upload buffer and compared, and only then put. Returns the file's ID.
func (r *Repository) saveUnpacked(ctx context.Context, dir string, json []byte) (ID, error) {
	panic("to come")
}

// loadUnpacked reads such a file: its hash must be its name, its MAC must fit, its framing must be known, its
// decompressed size within bounds. Returns the JSON.
func (r *Repository) loadUnpacked(ctx context.Context, dir string, id ID) ([]byte, error) {
	panic("to come")
}
