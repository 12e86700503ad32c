package repo

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
)

// packer gathers blobs of one type into packs and stores them. A worker reserves room in the open pack, seals its blob
// straight into it beside other workers, and reads it back; so there is no copy between the compressor and the
// upload buffer. A full pack is stored in the background while the next one fills.
type packer struct {
	packSink
	size    int // of a pack, header included, in bytes
	uploads sync.WaitGroup

	mu   sync.Mutex
	open *openPack
	free chan []byte // pack buffers; their number bounds the memory and the uploads at once
}

// packSink is whom a packer works for.
type packSink struct {
	repo   *Repository
	ctx    context.Context // of all writing; fail ends it
	fail   func(error)
	stored func(ID, []packedBlob) error // told of every pack that is durable
	bytes  *atomic.Int64                // counts what is stored
}

// openPack is a pack in the making.
type openPack struct {
	buf     []byte // blobs so far
	limit   int    // the pack's final size at the most, in bytes
	blobs   []packedBlob
	header  int            // headerLength(blobs)
	sealing sync.WaitGroup // workers that write into buf
}

// smallPack is what a pack buffer holds at first, in bytes. Most backups of what changed little store less: they need not
// pay for the memory of a full pack.
const smallPack = 512 << 10

func newPacker(sink packSink, size, buffers int) *packer {
	p := &packer{packSink: sink, size: size, free: make(chan []byte, buffers)}
	for range buffers {
		p.free <- nil // allocated at first use
	}
	return p
}

// fits reports whether n more bytes of blob leave room for the header, and the pack has no more blobs than one header
// and one index file can list.
func (o *openPack) fits(n int) bool {
	return len(o.buf)+n+o.header+compressedEntry <= o.limit && len(o.blobs) < indexFileBlobs
}

// grow makes room in buf for n more bytes of blob and their header: a small buffer is exchanged for one of the full size,
// when nobody seals into it any more. Whoever seals waits for no lock of the packer.
func (o *openPack) grow(n int) {
	need := len(o.buf) + n + o.header + compressedEntry
	if need <= cap(o.buf) {
		return
	}
	o.sealing.Wait()
	size := o.limit
	if need <= smallPack {
		size = min(smallPack, o.limit)
	}
	o.buf = append(make([]byte, 0, size), o.buf...)
}

// seal encrypts payload (a blob, compressed when b.Uncompressed > 0) into the open pack, and sets where it lies. done
// must be called when the caller has verified what was sealed: the pack is not stored before.
func (p *packer) seal(b *packedBlob, payload []byte) (sealed []byte, done func(), err error) {
	b.Length = uint32(len(payload) + overhead)
	pack, region, err := p.reserve(b)
	if err != nil {
		return nil, nil, err
	}
	p.repo.key.seal(region[:0], payload)
	p.bytes.Add(int64(len(region)))
	return region, pack.sealing.Done, nil
}

// reserve finds room for a blob in the open pack, starting a new one when it does not fit.
func (p *packer) reserve(b *packedBlob) (*openPack, []byte, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	n := int(b.Length)
	if p.open != nil && !p.open.fits(n) {
		p.store(p.open)
		p.open = nil
	}
	if p.open == nil {
		buf, err := p.buffer()
		if err != nil {
			return nil, nil, err
		}
		limit := max(p.size, n+headerLength(nil)+compressedEntry) // a tree can be larger than a pack
		p.open = &openPack{buf: buf, limit: limit, header: headerLength(nil)}
	}
	o := p.open
	o.grow(n)
	b.Offset = uint32(len(o.buf))
	o.blobs = append(o.blobs, *b)
	o.header += b.entryLength()
	o.buf = o.buf[:len(o.buf)+n]
	o.sealing.Add(1)
	return o, o.buf[b.Offset:len(o.buf):len(o.buf)], nil
}

// buffer waits for a pack buffer.
func (p *packer) buffer() ([]byte, error) {
	select {
	case buf := <-p.free:
		return buf[:0], nil
	case <-p.ctx.Done():
		return nil, context.Cause(p.ctx)
	}
}

// flush stores the open pack and waits until all packs are durable.
func (p *packer) flush() {
	p.mu.Lock()
	if p.open != nil {
		p.store(p.open)
		p.open = nil
	}
	p.mu.Unlock()
	p.uploads.Wait()
}

// store finishes a pack in the background: waits for its sealers, adds the header, checks it, puts it.
func (p *packer) store(o *openPack) {
	p.uploads.Go(func() {
		o.sealing.Wait()
		if err := p.put(o); err != nil {
			p.fail(err)
		}
		if cap(o.buf) > p.size { // made for one huge tree
			o.buf = nil
		}
		p.free <- o.buf
	})
}

// put stores the pack and then tells the sink. A crash before the put leaves nothing, one after it an orphan pack
// that the next prune removes.
func (p *packer) put(o *openPack) error {
	if p.ctx.Err() != nil {
		return context.Cause(p.ctx)
	}
	blobs := len(o.buf)
	pack := appendHeader(o.buf, o.blobs, p.repo.key)
	parsed, err := parseHeader(p.repo.key, pack[blobs:], int64(len(pack)))
	if err != nil || !equalBlobs(parsed, o.blobs) {
		return fmt.Errorf("pack header went wrong in memory (is the memory of this machine sound?): %w", ErrDamaged)
	}
	id := Hash(pack)
	if err := p.repo.storage.Put(p.ctx, packName(id), pack); err != nil {
		return fmt.Errorf("storing pack %s: %w", id.Short(), err)
	}
	p.bytes.Add(int64(len(pack) - blobs))
	return p.stored(id, o.blobs)
}

// packName is where a pack lies.
func packName(id ID) string {
	s := id.String()
	return "data/" + s[:2] + "/" + s
}

func equalBlobs(a, b []packedBlob) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if a[i] != b[i] {
			return false
		}
	}
	return true
}

// writerStats are the live counters behind Stats.
type writerStats struct {
	files, folders, read, added, stored, dataBlobs, treeBlobs atomic.Int64
}
