package repo

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
)

// Dir is a folder of the snapshot being written. Its methods are for one goroutine; several Dirs and files may be
// open at once.
type Dir struct {
	w      *Writer
	node   Node
	path   string // below the folder that OnFile was set on, with a slash at the end
	nodes  []Node // neither files nor folders
	files  []*FileWriter
	dirs   []*Dir
	onFile func(path string, sum FileSum)

	done chan struct{} // made by Finish, closed when tree and err are set
	tree ID
	err  error
}

// Mkdir opens a folder in d; n gives its name and metadata (Type and Subtree are set here).
func (d *Dir) Mkdir(n Node) (*Dir, error) {
	if err := d.check(n); err != nil {
		return nil, err
	}
	sub := &Dir{w: d.w, node: n, onFile: d.onFile, path: d.path + n.Name + "/"}
	d.dirs = append(d.dirs, sub)
	return sub, nil
}

// Create opens a regular file in d for writing; n gives its name and metadata (Type, Size and Content are set here).
func (d *Dir) Create(n Node) (*FileWriter, error) {
	if err := d.check(n); err != nil {
		return nil, err
	}
	f := &FileWriter{w: d.w, node: n, cutter: cutter{table: d.w.table}}
	d.files = append(d.files, f)
	return f, nil
}

// Add adds what is neither file nor folder: a link, a device, a fifo.
func (d *Dir) Add(n Node) error {
	if err := d.check(n); err != nil {
		return err
	}
	n.Content, n.Subtree = nil, nil
	d.nodes = append(d.nodes, n)
	return nil
}

func (d *Dir) check(n Node) error {
	if d.done != nil {
		return fmt.Errorf("folder %q is closed", d.node.Name)
	}
	if d.w.ctx.Err() != nil {
		return context.Cause(d.w.ctx)
	}
	return checkName(n.Name)
}

// OnFile has f called for every regular file below d, one at a time, folder by folder in the order in which they are
// closed, by name within each, with the path relative to d. Set it before anything is in d.
func (d *Dir) OnFile(f func(path string, sum FileSum)) { d.onFile, d.path = f, "" }

// Finish closes the folder without waiting: its tree is stored, and added to the parent's, as soon as its files and
// folders are. All of them must be closed. What goes wrong is told by the parent's Close.
func (d *Dir) Finish() {
	if d.done != nil {
		return
	}
	d.done = make(chan struct{})
	turn := d.w.queueTurn(d.onFile != nil)
	d.w.helpers.Go(func() {
		defer close(d.done)
		defer turn.end()
		if d.err = d.finish(turn); d.err != nil {
			d.w.fail(d.err)
		}
	})
}

// Close is Finish, and waits. It returns the tree's ID.
func (d *Dir) Close() (ID, error) {
	d.Finish()
	<-d.done
	return d.tree, d.err
}

// turn is a folder's place in the queue of those that tell OnFile. The nil turn has nothing to tell.
type turn struct {
	before chan struct{} // closed when the one before has ended its turn; nil for the first
	ended  chan struct{}
}

func (w *Writer) queueTurn(tells bool) *turn {
	if !tells {
		return nil
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	t := &turn{before: w.lastTurn, ended: make(chan struct{})}
	w.lastTurn = t.ended
	return t
}

// await blocks until it is this folder's turn.
func (t *turn) await() {
	if t != nil && t.before != nil {
		<-t.before
	}
}

// end lets the next one tell. Also a folder that failed awaits its turn first, or two would tell at once.
func (t *turn) end() {
	if t != nil {
		t.await()
		close(t.ended)
	}
}

// finish waits for everything in the folder, and stores its tree.
func (d *Dir) finish(t *turn) error {
	slices.SortFunc(d.files, func(a, b *FileWriter) int { return strings.Compare(a.node.Name, b.node.Name) })
	sums := make([]FileSum, len(d.files))
	for i, f := range d.files {
		var err error
		if sums[i], err = f.Sum(); err != nil {
			return err
		}
		d.nodes = append(d.nodes, f.finished())
	}
	if d.onFile != nil {
		t.await()
		for i, f := range d.files {
			d.onFile(d.path+f.node.Name, sums[i])
		}
	}
	if err := d.addFolders(); err != nil {
		return err
	}
	data, err := encodeTree(d.nodes)
	if err != nil {
		return fmt.Errorf("folder %q: %w", d.node.Name, err)
	}
	d.nodes, d.files, d.dirs = nil, nil, nil
	return d.storeTree(data)
}

// addFolders adds a node for each folder in d.
func (d *Dir) addFolders() error {
	for _, sub := range d.dirs {
		if sub.done == nil {
			return fmt.Errorf("folder %q was not closed", sub.node.Name)
		}
		<-sub.done
		if sub.err != nil {
			return sub.err
		}
		n := sub.node
		n.Type, n.Subtree, n.Content, n.Size = "dir", &sub.tree, nil, 0
		d.nodes = append(d.nodes, n)
	}
	return nil
}

// storeTree hands the tree to the workers and waits for it, so that its parent's tree is never stored before it.
func (d *Dir) storeTree(data []byte) error {
	if len(data) > maxTree {
		return fmt.Errorf("folder %q has too many entries: its listing takes %d bytes, at most %d can be read back",
			d.node.Name, len(data), maxTree)
	}
	c, err := d.w.newChunk(data)
	if err != nil {
		return err
	}
	var stored sync.WaitGroup
	if err := d.w.submit(job{typ: TreeBlob, chunk: c, id: &d.tree, done: &stored}); err != nil {
		return err
	}
	stored.Wait()
	d.w.stats.folders.Add(1)
	if d.w.ctx.Err() != nil {
		return context.Cause(d.w.ctx)
	}
	return nil
}
