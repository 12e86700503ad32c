package repo

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"
	"strings"
	"time"
	"unicode/utf8"
)

// modeBits are the bits of a mode that the format knows; all others are masked away.
const modeBits = fs.ModePerm | fs.ModeDir | fs.ModeSymlink | fs.ModeDevice | fs.ModeNamedPipe | fs.ModeSocket |
	fs.ModeSetuid | fs.ModeSetgid | fs.ModeCharDevice | fs.ModeSticky | fs.ModeIrregular

// encodeTree gives the canonical bytes of a tree: nodes sorted by raw name, and a final newline. Duplicate or illegal
// names (empty, ".", "..", with a slash or NUL) are errors.
func encodeTree(nodes []Node) ([]byte, error) {
	sorted := slices.Clone(nodes)
	slices.SortFunc(sorted, func(a, b Node) int { return strings.Compare(a.Name, b.Name) })
	b := []byte(`{"nodes":[`)
	for i := range sorted {
		n := &sorted[i]
		if i > 0 {
			b = append(b, ',')
			if n.Name == sorted[i-1].Name {
				return nil, fmt.Errorf("cannot store a folder with two entries of the name %q", n.Name)
			}
		}
		text, err := encodeNode(*n)
		if err != nil {
			return nil, fmt.Errorf("cannot store the entry %q: %w", n.Name, err)
		}
		b = append(b, text...)
	}
	if b = append(b, "]}\n"...); len(b) > maxTree {
		return nil, fmt.Errorf("cannot store a folder of %d entries, whose names and metadata take %d bytes: the limit is %d",
			len(nodes), len(b), maxTree)
	}
	return b, nil
}

// encodeNode gives the canonical JSON of a node: that of encoding/json, after what the format wants to be changed.
func encodeNode(n Node) ([]byte, error) {
	if err := checkName(n.Name); err != nil {
		return nil, err
	}
	n.Name = quoteName(n.Name)
	n.Mode &= modeBits
	n.ModTime, n.AccessTime, n.ChangeTime = storable(n.ModTime), storable(n.AccessTime), storable(n.ChangeTime)
	n.LinkTargetRaw = nil
	if !utf8.ValidString(n.LinkTarget) {
		n.LinkTargetRaw = []byte(n.LinkTarget)
	}
	for i, x := range n.ExtendedAttributes {
		if x.Value == nil { // null is no value of an attribute
			n.ExtendedAttributes = slices.Clone(n.ExtendedAttributes)
			n.ExtendedAttributes[i].Value = []byte{}
		}
	}
	switch {
	case n.Type != "file":
		n.Content = nil
	case n.Content == nil:
		n.Content = []ID{}
	}
	if err := n.check(); err != nil {
		return nil, err
	}
	return json.Marshal(n)
}

// storable forces a time into the years that RFC 3339 can tell.
func storable(t time.Time) time.Time {
	if y := t.Year(); y < 0 {
		t = t.AddDate(-y, 0, 0)
	} else if y > 9999 {
		t = t.AddDate(9999-y, 0, 0)
	}
	return wholeMinutes(t)
}

// wholeMinutes is the same instant in a zone that RFC 3339 can tell. Old local times have offsets with seconds, which
// would be cut off, and make it another instant.
func wholeMinutes(t time.Time) time.Time {
	if _, offset := t.Zone(); offset%60 != 0 {
		return t.UTC()
	}
	return t
}

// maxNodes bounds the entries of a tree: more do not fit into maxTree with the times that everybody writes. In memory
// an entry takes some 500 bytes, of which a malicious tree could make its readers allocate one for every three of its own.
const maxNodes = 500_000

// decodeTree reads a tree blob; names are unescaped, illegal names, a file without content and a folder without
// subtree are ErrDamaged.
func decodeTree(data []byte) ([]Node, error) {
	d := json.NewDecoder(bytes.NewReader(data))
	nodes, err := readTree(d)
	if err == nil {
		if _, more := d.Token(); more != io.EOF {
			err = errors.New("something follows the tree")
		}
	}
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	return nodes, nil
}

// readTree reads an object with the list "nodes", and anything else, which is skipped.
func readTree(d *json.Decoder) (nodes []Node, err error) {
	if err := expect(d, json.Delim('{')); err != nil {
		return nil, err
	}
	for d.More() {
		key, err := d.Token()
		if err != nil {
			return nil, err
		}
		if key != "nodes" {
			if err := d.Decode(new(json.RawMessage)); err != nil {
				return nil, err
			}
			continue
		}
		if nodes, err = readNodes(d); err != nil {
			return nil, err
		}
	}
	return nodes, expect(d, json.Delim('}'))
}

// readNodes reads the entries one by one, so that the first bad one ends it.
func readNodes(d *json.Decoder) ([]Node, error) {
	switch start, err := d.Token(); {
	case err != nil:
		return nil, err
	case start == nil: // null
		return nil, nil
	case start != json.Delim('['):
		return nil, errors.New("its entries are not a list")
	}
	nodes := []Node{}
	for d.More() {
		var n Node
		if err := d.Decode(&n); err != nil {
			return nil, err
		}
		if err := n.decoded(); err != nil {
			return nil, err
		}
		if len(nodes) == maxNodes {
			return nil, fmt.Errorf("it has more than %d entries", maxNodes)
		}
		nodes = append(nodes, n)
	}
	return nodes, expect(d, json.Delim(']'))
}

func expect(d *json.Decoder, want json.Delim) error {
	got, err := d.Token()
	if err == nil && got != want {
		err = fmt.Errorf("%v where %v should be", got, want)
	}
	return err
}

// decoded turns what the JSON holds into what a Node is.
func (n *Node) decoded() error {
	name, err := unquoteName(n.Name)
	if err == nil {
		err = checkName(name)
	}
	if err != nil {
		return fmt.Errorf("an entry has the name %q: %w", n.Name, err)
	}
	n.Name = name
	n.Mode &= modeBits
	if n.LinkTargetRaw != nil {
		n.LinkTarget, n.LinkTargetRaw = string(n.LinkTargetRaw), nil
	}
	if err := n.check(); err != nil {
		return fmt.Errorf("the entry %q: %w", name, err)
	}
	return nil
}

// check refuses a node that nobody could restore.
func (n *Node) check() error {
	switch {
	case n.Type == "":
		return errors.New("it has no type")
	case n.Type == "file" && n.Content == nil:
		return errors.New("it is a file without a list of content")
	case slices.Contains(n.Content, ID{}):
		return errors.New("its content has no ID")
	case n.Type == "dir" && (n.Subtree == nil || n.Subtree.IsZero()):
		return errors.New("it is a folder without a tree")
	}
	return nil
}
