package repo

import (
	"context"
)

// index is the union of all index files in memory: for every blob where it lies. Lookups are by bisection in sorted
// arrays of packed entries (48 bytes a blob, plus 32 a pack); what a running writer adds lies in a small map until the
// next load. Safe for use by many goroutines at once.
type index struct {
}

// location is where one copy of a blob lies.
type location struct {
	Pack ID
	packedBlob
}

// lookup finds a blob; when it lies in several packs any copy is returned (all: see copies).
func (x *index) lookup(t BlobType, id ID) (location, bool) { panic("to come") }

// copies returns every place of a blob, for readers that meet a damaged one.
func (x *index) copies(t BlobType, id ID) []location { panic("to come") }

// packs returns what every indexed pack holds, ordered by offset.
func (x *index) packs() map[ID][]packedBlob { panic("to come") }

// saveIndex writes one index file that lists these packs, verified from its upload buffer, and adds them to the index
// in memory. The packs must be durable already: an index may list only packs that exist.
func (r *Repository) saveIndex(ctx context.Context, packs map[ID][]packedBlob) (ID, error) {
	panic("to come")
}
