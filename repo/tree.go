package repo

import (
	"encoding/json"
	"io/fs"
	"time"
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
