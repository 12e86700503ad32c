package repo

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strconv"
)

// indexFileBlobs is about how many blobs one index file lists. restic starts a new one at this number too; files stay
// below 8 MiB.
const indexFileBlobs = 50_000

// indexJSON is an index file (restic-format: index files). A list of files that it supersedes is neither read nor
// written: nobody acts on it.
type indexJSON struct {
	Packs []indexPack `json:"packs"`
}

type indexPack struct {
	ID    ID          `json:"id"`
	Blobs []indexBlob `json:"blobs"`
}

type indexBlob struct {
	ID           ID     `json:"id"`
	Type         string `json:"type"`
	Offset       int64  `json:"offset"`
	Length       int64  `json:"length"`
	Uncompressed int64  `json:"uncompressed_length"`
}

// UnmarshalJSON refuses a pack that lacks its ID at once, before a list of millions of nothing is in memory.
func (p *indexPack) UnmarshalJSON(text []byte) error {
	type plain indexPack
	if err := json.Unmarshal(text, (*plain)(p)); err != nil {
		return err
	}
	if p.ID.IsZero() {
		return errors.New("it lists a pack without an ID")
	}
	return nil
}

// UnmarshalJSON does the same for a blob.
func (b *indexBlob) UnmarshalJSON(text []byte) error {
	type plain indexBlob
	if err := json.Unmarshal(text, (*plain)(b)); err != nil {
		return err
	}
	if b.ID.IsZero() {
		return errors.New("it lists a blob without an ID")
	}
	return nil
}

// saveIndex writes an index file that lists these packs, verified from its upload buffer, and adds them to the index
// in memory. The packs must be durable already: an index may list only packs that exist. So many blobs that they would
// make a file too large go into several files, each pack whole in one of them; the ID is the last one's.
func (r *Repository) saveIndex(ctx context.Context, packs map[ID][]packedBlob) (ID, error) {
	var file ID
	for _, ids := range splitPacks(packs) {
		var err error
		if file, err = r.saveIndexFile(ctx, ids, packs); err != nil {
			return ID{}, err
		}
	}
	return file, nil
}

// splitPacks distributes packs over index files that are not too large, each whole in one of them.
func splitPacks(packs map[ID][]packedBlob) [][]ID {
	return splitList(sortedKeys(packs), func(id ID) int { return len(packs[id]) })
}

// splitList cuts a list of packs, that have so many blobs, into one for each index file.
func splitList[T any](list []T, blobs func(T) int) [][]T {
	var files [][]T
	for len(list) > 0 {
		n, sum := 0, 0
		for n < len(list) && (n == 0 || sum+blobs(list[n]) <= indexFileBlobs) {
			sum += blobs(list[n])
			n++
		}
		files = append(files, list[:n:n])
		list = list[n:]
	}
	return files
}

// saveIndexFile writes one file with these packs.
func (r *Repository) saveIndexFile(ctx context.Context, ids []ID, packs map[ID][]packedBlob) (ID, error) {
	file, list, err := r.putIndexFile(ctx, ids, packs)
	if err != nil {
		return ID{}, err
	}
	r.index.mu.Lock()
	defer r.index.mu.Unlock()
	r.index.add(file, *list)
	return file, nil
}

// putIndexFile stores one file with these packs, and tells nobody. It returns the ID also when only storing has failed:
// the file may be there.
func (r *Repository) putIndexFile(ctx context.Context, ids []ID, packs map[ID][]packedBlob) (ID, *indexList, error) {
	text := encodeIndex(ids, packs)
	list, err := decodeIndex(text, r.config.Version)
	if err != nil {
		return ID{}, nil, fmt.Errorf("refusing to store an index file that nobody could read: %w", err)
	}
	file, err := r.saveUnpacked(ctx, "index", text)
	return file, list, err
}

// encodeIndex writes the JSON by hand: there may be a million blobs.
func encodeIndex(ids []ID, packs map[ID][]packedBlob) []byte {
	blobs := 0
	for _, id := range ids {
		blobs += len(packs[id])
	}
	b := make([]byte, 0, 100*len(ids)+180*blobs+20)
	b = append(b, `{"packs":[`...)
	for i, id := range ids {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(b, `{"id":"`...)
		b = appendID(b, id)
		b = append(b, `","blobs":[`...)
		for j, blob := range packs[id] {
			if j > 0 {
				b = append(b, ',')
			}
			b = appendIndexBlob(b, blob)
		}
		b = append(b, "]}"...)
	}
	return append(b, "]}"...)
}

func appendIndexBlob(b []byte, blob packedBlob) []byte {
	b = append(b, `{"id":"`...)
	b = appendID(b, blob.ID)
	b = append(b, `","type":"`...)
	b = append(b, blob.Type.String()...)
	b = append(b, `","offset":`...)
	b = strconv.AppendUint(b, uint64(blob.Offset), 10)
	b = append(b, `,"length":`...)
	b = strconv.AppendUint(b, uint64(blob.Length), 10)
	if blob.Uncompressed != 0 {
		b = append(b, `,"uncompressed_length":`...)
		b = strconv.AppendUint(b, uint64(blob.Uncompressed), 10)
	}
	return append(b, '}')
}

// decodeIndex reads an index file's JSON, in a repository of this version. Types, lengths and offsets that no pack can
// have are ErrDamaged.
func decodeIndex(text []byte, version uint) (*indexList, error) {
	if list := scanIndex(text, version); list != nil {
		return list, nil
	}
	if bytes.HasPrefix(bytes.TrimSpace(text), []byte("[")) {
		return nil, fmt.Errorf("%w: it is in the format of restic before 0.2", ErrDamaged)
	}
	var file indexJSON
	if err := json.Unmarshal(text, &file); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	list := new(indexList)
	for _, p := range file.Packs {
		list.addPack(p.ID)
		for _, jb := range p.Blobs {
			b, err := jb.packed(version)
			if err != nil {
				return nil, fmt.Errorf("pack %s: %w", p.ID, err)
			}
			list.addBlob(b)
		}
	}
	return list, nil
}

// packed checks a blob's numbers.
func (b indexBlob) packed(version uint) (packedBlob, error) {
	t := DataBlob
	if b.Type == "tree" {
		t = TreeBlob
	} else if b.Type != "data" {
		return packedBlob{}, fmt.Errorf("%w: blob %s is of type %q", ErrDamaged, b.ID, b.Type)
	}
	for _, n := range []int64{b.Offset, b.Length, b.Uncompressed} {
		if n < 0 || n > math.MaxUint32 {
			return packedBlob{}, fmt.Errorf("%w: blob %s has the number %d", ErrDamaged, b.ID, n)
		}
	}
	if b.Offset+b.Length > math.MaxUint32 {
		return packedBlob{}, fmt.Errorf("%w: blob %s lies at %d+%d", ErrDamaged, b.ID, b.Offset, b.Length)
	}
	if b.Uncompressed > 0 && version == 1 {
		return packedBlob{}, fmt.Errorf("%w: blob %s is compressed, in a repository of version 1", ErrDamaged, b.ID)
	}
	p := packedBlob{t, b.ID, uint32(b.Offset), uint32(b.Length), uint32(b.Uncompressed)}
	return p, p.validate()
}
