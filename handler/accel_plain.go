package handler

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"mime"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/caddy-backup/caddy-backup/backup"
)

// openPlain offers a file below root. Symbolic links are followed only as long as they stay below it. An error of root
// itself is one of the server; that there is no such file in it is backup.ErrNotFound.
func openPlain(root, path string, now time.Time) (*offer, error) {
	dir, err := os.OpenRoot(root)
	if err != nil {
		return nil, err
	}
	defer dir.Close()
	f, err := dir.OpenFile(filepath.FromSlash(path), os.O_RDONLY|syscall.O_NONBLOCK, 0) // a FIFO would wait for its writer
	if err != nil {
		return nil, plainError(root, err)
	}
	fi, err := f.Stat()
	if err == nil && !fi.Mode().IsRegular() {
		err = fmt.Errorf("%w: %s in %s is no file but %s", backup.ErrNotFound, path, root, fi.Mode())
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	o := &offer{content: &watched{file: &plainFile{io.NewSectionReader(f, 0, fi.Size()), f}}, media: plainMedia(path)}
	o.etag, o.modified = plainVersion(fi, now)
	return o, nil
}

// plainError tells what is not there, or leads out of root, from what should be there and cannot be read.
func plainError(root string, err error) error {
	errno, ofSystem := errors.AsType[syscall.Errno](err)
	if !ofSystem || errors.Is(err, fs.ErrNotExist) || slices.Contains(noFile, errno) {
		return fmt.Errorf("%w: in %s: %w", backup.ErrNotFound, root, err)
	}
	return fmt.Errorf("in %s: %w", root, err)
}

var noFile = []syscall.Errno{syscall.ENOTDIR, syscall.ELOOP, syscall.ENAMETOOLONG, syscall.EINVAL, syscall.ENXIO}

// plainMedia goes by the name alone: a guess by the content would let people who upload files choose to be HTML.
func plainMedia(path string) string {
	if media := mime.TypeByExtension(filepath.Ext(path)); media != "" {
		return media
	}
	return "application/octet-stream"
}

// settled is how long a file must have been left alone before its times tell its content apart from any other: a second
// change within the same tick of the clock leaves no trace in them.
const settled = 2 * time.Second

// plainVersion is the entity tag of a file that is not read for it, from size, times and place on the disk, and its last
// change. While a file is being changed the tag is a weak one, with which no download is resumed, and there is no time.
func plainVersion(fi fs.FileInfo, now time.Time) (etag string, modified time.Time) {
	version := []string{strconv.FormatInt(fi.Size(), 36), strconv.FormatInt(fi.ModTime().UnixNano(), 36)}
	changed, id := inode(fi)
	if id != 0 {
		version = append(version, strconv.FormatInt(changed.UnixNano(), 36), strconv.FormatUint(id, 36))
	}
	etag = etagOf(strings.Join(version, "-"), "")
	if now.Sub(fi.ModTime()) < settled || now.Sub(changed) < settled {
		return "W/" + etag, time.Time{}
	}
	return etag, fi.ModTime()
}

// plainFile is a file that is as long as it was when it was opened: one that has become shorter is an error, one that
// has grown is cut.
type plainFile struct {
	*io.SectionReader
	file *os.File
}

func (f *plainFile) Read(p []byte) (int, error) {
	n, err := f.SectionReader.Read(p)
	if at, _ := f.Seek(0, io.SeekCurrent); err == io.EOF && at < f.Size() {
		err = fmt.Errorf("%s became shorter while it was sent: %w", f.file.Name(), io.ErrUnexpectedEOF)
	}
	return n, err
}

func (f *plainFile) Close() error { return f.file.Close() }
