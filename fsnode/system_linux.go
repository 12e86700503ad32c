package fsnode

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/caddy-backup/caddy-backup/repo"
)

// dontWait makes an open return at once where it would wait for somebody at the other end of a fifo.
const dontWait = unix.O_NONBLOCK

// addSystem adds what only the system's own stat tells.
func addSystem(n *repo.Node, fi fs.FileInfo) {
	st, ok := fi.Sys().(*syscall.Stat_t)
	if !ok {
		return
	}
	n.ChangeTime = time.Unix(st.Ctim.Unix()).UTC()
	n.UID, n.GID = st.Uid, st.Gid
	n.Inode, n.DeviceID, n.Links = uint64(st.Ino), uint64(st.Dev), uint64(st.Nlink) // their types differ by architecture
	if n.Type == "dev" || n.Type == "chardev" {
		n.Device = uint64(st.Rdev)
	}
}

// sameTimes reports whether a file was left alone between two looks.
func sameTimes(a, b fs.FileInfo) bool {
	x, ok := a.Sys().(*syscall.Stat_t)
	y, ok2 := b.Sys().(*syscall.Stat_t)
	return ok && ok2 && x.Mtim == y.Mtim && x.Ctim == y.Ctim
}

// openFolder opens the folder of that name in at, and never waits: not for a fifo that took its place either.
func openFolder(at *os.Root, name string) (*os.Root, error) {
	f, err := at.OpenFile(name, os.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if !haveProc(f) {
		return at.OpenRoot(name)
	}
	return os.OpenRoot(viaDescriptor(f))
}

// viaDescriptor is a path to an open file, whatever has become of the path that it was opened by.
func viaDescriptor(f *os.File) string { return fmt.Sprintf("/proc/self/fd/%d", f.Fd()) }

func haveProc(f *os.File) bool {
	_, err := os.Lstat(viaDescriptor(f))
	return err == nil
}

// xattrCalls are the two system calls for one object; each fills a buffer and returns the length needed.
type xattrCalls struct {
	list func(buf []byte) (int, error)
	get  func(name string, buf []byte) (int, error)
}

func fileXAttrs(f *os.File) ([]repo.XAttr, error) {
	fd := int(f.Fd())
	return xattrCalls{
		list: func(b []byte) (int, error) { return unix.Flistxattr(fd, b) },
		get:  func(name string, b []byte) (int, error) { return unix.Fgetxattr(fd, name, b) },
	}.read()
}

// pathXAttrs follows links.
func pathXAttrs(path string) ([]repo.XAttr, error) {
	return xattrCalls{
		list: func(b []byte) (int, error) { return unix.Listxattr(path, b) },
		get:  func(name string, b []byte) (int, error) { return unix.Getxattr(path, name, b) },
	}.read()
}

// linkXAttrs is for what must not be opened: links, fifos and devices.
func linkXAttrs(at *os.Root, name string) ([]repo.XAttr, error) {
	dir, err := at.Open(".")
	if err != nil {
		return nil, err
	}
	defer dir.Close()
	if !haveProc(dir) {
		return nil, nil // such attributes are root's own, and rare
	}
	path := filepath.Join(viaDescriptor(dir), name)
	return xattrCalls{
		list: func(b []byte) (int, error) { return unix.Llistxattr(path, b) },
		get:  func(name string, b []byte) (int, error) { return unix.Lgetxattr(path, name, b) },
	}.read()
}

// read returns all extended attributes, in the order in which the system lists them.
func (c xattrCalls) read() ([]repo.XAttr, error) {
	names, err := filled(c.list)
	if errors.Is(err, unix.ENOTSUP) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("list extended attributes: %w", err)
	}
	var attrs []repo.XAttr
	for name := range bytes.SplitSeq(names, []byte{0}) {
		if len(name) == 0 {
			continue
		}
		value, err := filled(func(b []byte) (int, error) { return c.get(string(name), b) })
		if errors.Is(err, unix.ENODATA) { // removed meanwhile
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("read extended attribute %s: %w", name, err)
		}
		attrs = append(attrs, repo.XAttr{Name: string(name), Value: value})
	}
	return attrs, nil
}

// filled calls f with a buffer that is large enough; the result is never nil without an error.
func filled(f func([]byte) (int, error)) ([]byte, error) {
	for size := 256; ; size *= 2 {
		buf := make([]byte, size)
		n, err := f(buf)
		if errors.Is(err, unix.ERANGE) && size < 1<<20 {
			continue
		}
		if err != nil {
			return nil, err
		}
		return buf[:n], nil
	}
}

// setOwner sets the owner by number, as restic does.
func setOwner(at *os.Root, n repo.Node) error { return at.Lchown(n.Name, int(n.UID), int(n.GID)) }

// setXAttrs sets the extended attributes of f, or, when it is nil, of what must not be opened.
func setXAttrs(p place, f *os.File, n repo.Node) error {
	for _, a := range n.ExtendedAttributes {
		var err error
		if f != nil {
			err = unix.Fsetxattr(int(f.Fd()), a.Name, a.Value, 0)
		} else {
			err = unix.Lsetxattr(filepath.Join(viaDescriptor(p.dir), n.Name), a.Name, a.Value, 0)
		}
		if err != nil {
			return fmt.Errorf("extended attribute %s: %w", a.Name, err)
		}
	}
	return nil
}

// setTimes sets the times to the nanosecond, of a link on the link itself.
func setTimes(p place, n repo.Node) error {
	ts := []unix.Timespec{timespec(n.AccessTime), timespec(n.ModTime)}
	return unix.UtimesNanoAt(int(p.dir.Fd()), n.Name, ts, unix.AT_SYMLINK_NOFOLLOW)
}

func timespec(t time.Time) unix.Timespec {
	if !known(t) {
		return unix.Timespec{Nsec: unix.UTIME_OMIT}
	}
	ts, err := unix.TimeToTimespec(t)
	if err != nil { // beyond what this machine can tell
		return unix.Timespec{Nsec: unix.UTIME_OMIT}
	}
	return ts
}

// makeSpecial makes a fifo or a device.
func makeSpecial(p place, n repo.Node) error {
	kind := map[string]uint32{"fifo": unix.S_IFIFO, "dev": unix.S_IFBLK, "chardev": unix.S_IFCHR}[n.Type]
	return unix.Mknodat(int(p.dir.Fd()), n.Name, kind|0o600, int(n.Device))
}

// syncAll makes all that was restored durable with one call for the whole file system, instead of one per file.
func syncAll(root *os.Root) error {
	f, err := root.Open(".")
	if err != nil {
		return err
	}
	defer f.Close()
	return unix.Syncfs(int(f.Fd()))
}
