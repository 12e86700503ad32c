package backup_test

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"

	"github.com/caddy-backup/caddy-backup/backup"
	"github.com/caddy-backup/caddy-backup/backup/backuptest"
	"github.com/caddy-backup/caddy-backup/repo"
)

// This file is what the laboratory backs up: all follows from the number of a backup.

// labDump is the database's dump of the backup of that number, which is its first word. Each fifth fills packs.
func labDump(number uint64) []byte {
	size := 32 << 10
	if number%5 == 0 {
		size = 5 << 20
	}
	data := make([]byte, size)
	_, _ = rand.NewChaCha8([32]byte{byte(number), byte(number >> 8), byte(number >> 16)}).Read(data)
	return append(fmt.Appendf(nil, "%d\n", number), data...)
}

// labFolder is the folder of that number: the n-th file changes at each n-th backup, so that packs are partly needed.
func labFolder(number uint64) backuptest.Folder {
	files := backuptest.Folder{}
	for n := range uint64(16) {
		version := number / (n + 1)
		data := make([]byte, 4<<10+n*1000)
		_, _ = rand.NewChaCha8([32]byte{byte(n), 1, byte(version), byte(version >> 8)}).Read(data)
		files[fmt.Sprintf("%d/%d", n%3, n)] = string(data)
	}
	return files
}

// dump is the source of labDump.
func (c *labChild) dump() *backuptest.Source {
	s := backuptest.NewSource("")
	s.Do(func(_ context.Context, w io.Writer, _ *backup.Task) error {
		_, err := w.Write(labDump(c.content.Load()))
		return err
	})
	return s
}

// labMedia is the source of labFolder.
type labMedia struct {
	backup.Source
	c *labChild
}

func (labMedia) Parts(ctx context.Context, name string) ([]backup.Part, error) {
	return backuptest.Folder{}.Parts(ctx, name)
}

func (labMedia) Root(p backup.Part) (repo.Node, error) { return backuptest.Folder{}.Root(p) }

func (m labMedia) DumpFolder(ctx context.Context, p backup.Part, dir *repo.Dir, t *backup.Task) (backup.Facts, error) {
	return labFolder(m.c.content.Load()).DumpFolder(ctx, p, dir, t)
}
