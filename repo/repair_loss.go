package repo

import (
	"context"
	"fmt"
	"strings"
	"time"
)

// Loss is a file or folder of a snapshot that is lost, or damaged.
type Loss struct {
	Path   string `json:"path"` // from the top of the snapshot
	Folder bool   `json:"folder,omitempty"`
	Size   uint64 `json:"size"` // that it had, in bytes; of a file
	Lost   uint64 `json:"lost"` // bytes that are lost of it
	From   uint64 `json:"from"` // before this byte everything is there
	To     uint64 `json:"to"`   // from this byte on everything is there
}

func (l Loss) String() string {
	switch {
	case l.Folder:
		return l.Path + "/: the list of what was in this folder is lost, and so is all of it"
	case l.Lost == l.Size:
		return fmt.Sprintf("%s: all %d bytes are lost", l.Path, l.Size)
	}
	return fmt.Sprintf("%s: %d of %d bytes are lost, none before byte %d and none from byte %d on", l.Path, l.Lost, l.Size, l.From, l.To)
}

// losses tells of everything that is lost below a tree, in order.
func (x *snapshotsRepair) losses(ctx context.Context, tree ID, path string, tell func(Loss)) error {
	nodes, lost, err := x.tree(ctx, tree)
	if err != nil {
		return err
	}
	if lost {
		tell(Loss{Path: path, Folder: true})
		return nil
	}
	for i := range nodes {
		n := &nodes[i]
		if n.Subtree != nil && x.trees[*n.Subtree].broken {
			if err := x.losses(ctx, *n.Subtree, path+"/"+n.Name, tell); err != nil {
				return err
			}
		}
		l, err := x.loss(ctx, n)
		if err != nil {
			return err
		}
		if l != nil {
			l.Path = path + "/" + n.Name
			tell(*l)
		}
	}
	return nil
}

// lossNote is the file that lists what is lost.
type lossNote struct {
	folder string // path of the folder that it goes into; "" is the top
	time   time.Time
	blob   ID
	size   uint64
}

// lossList is the text of LOST.txt. The same losses give the same text: that is how a repair knows what it did before.
type lossList struct {
	b    strings.Builder
	more int
}

func newLossList(s Snapshot) *lossList {
	l := &lossList{}
	fmt.Fprintf(&l.b, `Some of what this snapshot held is lost. It was made %s; its ID was %s.

What is left of a damaged file bears its name with %s at the end: the pieces that are left, one behind the other.
A folder whose list is lost is an empty one with such a name. Everything that is not listed here is whole.

`, s.Time.UTC().Format(time.RFC3339), s.StableID(), lostMark)
	return l
}

func (l *lossList) add(loss Loss) {
	if l.b.Len() > maxList {
		l.more++
		return
	}
	loss.Path = printableName(loss.Path)
	l.b.WriteString(loss.String() + "\n")
}

func (l *lossList) text() []byte {
	text := l.b.String()
	if l.more > 0 {
		text += fmt.Sprintf("and %d more; their names end with %s\n", l.more, lostMark)
	}
	return []byte(text)
}

// printableName keeps a path in one line.
func printableName(path string) string {
	if path == "" {
		return "/"
	}
	return quoteName(path)
}
