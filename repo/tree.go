package repo

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"time"
	"unicode/utf8"
)

// Node is one entry of a tree: a file, folder, link or device (restic-format: trees). Field order is the canonical
// order of the JSON; Name is raw here and escaped in the JSON only.
type Node struct {
	Name               string       `json:"name"`
	Type               string       `json:"type"` // file dir symlink dev chardev fifo socket
	Mode               fs.FileMode  `json:"mode,omitempty"`
	ModTime            time.Time    `json:"mtime"`
	AccessTime         time.Time    `json:"atime"`
	ChangeTime         time.Time    `json:"ctime"`
	UID                uint32       `json:"uid"`
	GID                uint32       `json:"gid"`
	User               string       `json:"user,omitempty"`
	Group              string       `json:"group,omitempty"`
	Inode              uint64       `json:"inode,omitempty"`
	DeviceID           uint64       `json:"device_id,omitempty"`
	Size               uint64       `json:"size,omitempty"`
	Links              uint64       `json:"links,omitempty"`
	LinkTarget         string       `json:"linktarget,omitempty"`     // raw bytes here; encoding splits off linktarget_raw when it is not UTF-8
	LinkTargetRaw      []byte       `json:"linktarget_raw,omitempty"` // set by encoding and decoding only
	ExtendedAttributes []XAttr      `json:"extended_attributes,omitempty"`
	GenericAttributes  genericAttrs `json:"generic_attributes,omitempty"`
	Device             uint64       `json:"device,omitempty"` // st_rdev
	Content            []ID         `json:"content"`          // files: data blobs in order, [] when empty; null otherwise
	Subtree            *ID          `json:"subtree,omitempty"`
	Error              string       `json:"error,omitempty"`
}

// XAttr is one extended attribute.
type XAttr struct {
	Name  string `json:"name"`
	Value []byte `json:"value"`
}

// genericAttrs carries Windows attributes through unread.
type genericAttrs = map[string]json.RawMessage

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

// decodeTree reads a tree blob; names are unescaped, illegal names, a file without content and a folder without
// subtree are ErrDamaged.
func decodeTree(data []byte) ([]Node, error) {
	var tree struct{ Nodes []Node }
	if err := json.Unmarshal(data, &tree); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	for i := range tree.Nodes {
		if err := tree.Nodes[i].decoded(); err != nil {
			return nil, err
		}
	}
	return tree.Nodes, nil
}

// decoded turns what the JSON holds into what a Node is.
func (n *Node) decoded() error {
	name, err := unquoteName(n.Name)
	if err == nil {
		err = checkName(name)
	}
	if err != nil {
		return fmt.Errorf("%w: an entry has the name %q: %w", ErrDamaged, n.Name, err)
	}
	n.Name = name
	n.Mode &= modeBits
	if n.LinkTargetRaw != nil {
		n.LinkTarget, n.LinkTargetRaw = string(n.LinkTargetRaw), nil
	}
	if err := n.check(); err != nil {
		return fmt.Errorf("%w: the entry %q: %w", ErrDamaged, name, err)
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
