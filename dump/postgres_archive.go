package dump

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// archiveReader reads an archive of pg_dump in its custom format, uncompressed, from its first byte to its last, and
// counts the rows in it. An archive is
//
//	header, contents | block of an entry with data … | end
//
// and a block is a byte for its kind, the number of its entry, and pieces, each behind its length, up to one of length 0;
// large objects stand in one block together, each behind its number, up to a number 0. Blocks are in the order of their
// entries, and nothing is behind them.
type archiveReader struct {
	in     *bufio.Reader
	blocks []archiveBlock // that must come, in this order
	rows   map[string]int64
}

// archiveBlock is what the contents say about a block.
type archiveBlock struct {
	entry int
	name  string // for messages
	table string // by tableKey; "" when it holds no rows
	kind  byte
}

// The kinds of blocks.
const (
	blockRows    = 1
	blockObjects = 3 // large objects
)

const (
	// archiveKnown is the format whose blocks we read, the one of pg_dump 12 to 15. Others differ little, but what was
	// not tried out is left to pg_restore.
	archiveKnown = 14

	archiveBuffer = 128 << 10 // bytes
	archiveStart  = 16        // bytes that tell whether it is known
	archiveNumber = 1 + 4     // bytes of a number: its sign, then the lowest byte first
	archiveOffset = 8
)

func newArchiveReader(in io.Reader) *archiveReader {
	return &archiveReader{in: bufio.NewReaderSize(in, archiveBuffer), rows: map[string]int64{}}
}

// known reports whether the archive is of the form that this reader reads. Nothing is taken from it.
func (a *archiveReader) known() (bool, error) {
	head, err := a.in.Peek(archiveStart)
	if err != nil {
		return false, cutArchive(err, "its beginning")
	}
	want := []byte{1, archiveKnown, head[7], archiveNumber - 1, archiveOffset, tocCustom, 0, 0, 0, 0, 0}
	return bytes.Equal(head, append([]byte(archiveMagic), want...)), nil
}

// contents reads up to the first block, and gives toc all of that.
func (a *archiveReader) contents(toc io.Writer) error {
	out := bufio.NewWriterSize(toc, archiveBuffer)
	r := &tocReader{in: io.TeeReader(a.in, out)}
	for range r.header().entries {
		e := r.entry()
		if r.err != nil {
			break
		}
		if e.data {
			a.blocks = append(a.blocks, blockOf(e))
		}
	}
	if r.err != nil {
		return cutArchive(r.err, "its contents")
	}
	return out.Flush()
}

func blockOf(e tocEntry) archiveBlock {
	b := archiveBlock{entry: e.id, name: e.kind + " " + e.tag, kind: blockRows}
	switch {
	case e.kind == "BLOBS":
		b.kind = blockObjects
	case e.copying != "":
		b.table = copiedTable(e.copying)
	}
	return b
}

// data reads the blocks, and then the end.
func (a *archiveReader) data() error {
	for _, b := range a.blocks {
		if err := a.block(b); err != nil {
			return cutArchive(err, b.name)
		}
	}
	switch _, err := a.in.Peek(1); {
	case err == nil:
		return errors.New("there is more behind its end")
	case err != io.EOF:
		return err
	}
	return nil
}

func (a *archiveReader) block(b archiveBlock) error {
	kind, err := a.in.ReadByte()
	if err != nil {
		return err
	}
	entry, err := a.number()
	if err != nil {
		return err
	}
	if kind != b.kind || entry != b.entry {
		return fmt.Errorf("there is a block of kind %d for entry %d, not one of kind %d for entry %d", kind, entry, b.kind, b.entry)
	}
	if kind == blockObjects {
		return a.objects()
	}
	var text copiedText
	if err := a.pieces(&text); err != nil || b.table == "" {
		return err
	}
	rows, err := text.rows()
	a.rows[b.table] += rows
	return err
}

func (a *archiveReader) objects() error {
	for {
		number, err := a.in.Peek(archiveNumber)
		if err != nil {
			return err
		}
		last := bytes.Equal(number, make([]byte, archiveNumber)) // others have any sign: pg_dump takes high ones for negative
		if a.discard(archiveNumber); last {
			return nil
		}
		if err := a.pieces(&copiedText{}); err != nil {
			return err
		}
	}
}

// pieces reads pieces up to the one of length 0.
func (a *archiveReader) pieces(text *copiedText) error {
	for {
		if a.buffered(text) {
			return nil
		}
		n, err := a.number()
		if err != nil || n == 0 {
			return err
		}
		for n > 0 {
			piece, err := a.in.Peek(min(n, archiveBuffer))
			if err != nil {
				return err
			}
			text.add(piece)
			n -= len(piece)
			a.discard(len(piece))
		}
	}
}

// buffered reads the pieces that are whole in the buffer: each row is one, so that there are millions. It reports whether
// the one of length 0 was among them. One with a wrong length is left.
func (a *archiveReader) buffered(text *copiedText) (end bool) {
	all, _ := a.in.Peek(a.in.Buffered())
	rest := all
	for len(rest) >= archiveNumber && rest[0] == 0 && !end {
		n := int(binary.LittleEndian.Uint32(rest[1:]))
		if n > len(rest)-archiveNumber {
			break
		}
		text.add(rest[archiveNumber : archiveNumber+n])
		rest = rest[archiveNumber+n:]
		end = n == 0
	}
	a.discard(len(all) - len(rest))
	return end
}

// number reads one that is not negative.
func (a *archiveReader) number() (int, error) {
	b, err := a.in.Peek(archiveNumber)
	if err != nil {
		return 0, err
	}
	if b[0] != 0 {
		return 0, errors.New("there is no length where one should be")
	}
	n := binary.LittleEndian.Uint32(b[1:])
	a.discard(archiveNumber)
	return int(n), nil
}

// discard takes bytes that were peeked at.
func (a *archiveReader) discard(n int) { _, _ = a.in.Discard(n) }

// cutArchive says where an archive ended too early; other errors it gives the place.
func cutArchive(err error, place string) error {
	if err == io.EOF || err == io.ErrUnexpectedEOF {
		return fmt.Errorf("it is cut off in %s", place)
	}
	return fmt.Errorf("%s: %w", place, err)
}

// copiedText is the data of a table as COPY gives it, of which only the lines are counted and the end is kept: a row is a
// line, behind them stand a line with \. and a few empty ones.
type copiedText struct {
	size, lines int64
	tail        [copiedTail]byte // what came last; zeros in front while there is less
}

const copiedTail = 16 // bytes

var lineBreak = []byte("\n")

func (c *copiedText) add(p []byte) {
	c.size += int64(len(p))
	c.lines += int64(bytes.Count(p, lineBreak))
	keep := max(0, len(c.tail)-len(p))
	copy(c.tail[:], c.tail[len(c.tail)-keep:])
	copy(c.tail[keep:], p[max(0, len(p)-len(c.tail)):])
}

// rows is how many there are; an error when they have no end.
func (c *copiedText) rows() (int64, error) {
	text := bytes.TrimRight(c.tail[:], "\n")
	behind := len(c.tail) - len(text) // line breaks behind the end
	rows, ended := bytes.CutSuffix(text, []byte(rowsEnd))
	alone := bytes.HasSuffix(rows, lineBreak) || c.size == int64(len(rowsEnd)+behind)
	if !ended || !alone || behind == 0 {
		return 0, fmt.Errorf("the rows do not end with a line %s", rowsEnd)
	}
	return c.lines - int64(behind), nil
}
