package backup

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/caddy-backup/caddy-backup/repo"
)

// What lies in Config.DataDir, this machine's own folder:
//
//	host                     the name that this machine bears in snapshots
//	<name>-<hash>.password   a generated password; the hash is of the repository's location
//	creating.lock            held while a repository is made
//	waiting/                 notifications that nobody took yet, see waiting.go
//	journal/                 one file per process, see journal.go

// keptHost is the host's name: as configured, else as kept since the first start, so that a container that gets a new
// name every day still has one history and one group of snapshots.
func keptHost(c *setup) string {
	if c.Host != "" {
		return c.Host
	}
	name, err := os.Hostname()
	if err != nil || name == "" {
		name = "localhost"
	}
	if c.DataDir == "" {
		return name
	}
	path := filepath.Join(c.DataDir, "host")
	if kept, err := os.ReadFile(path); err == nil && len(bytes.TrimSpace(kept)) > 0 {
		return string(bytes.TrimSpace(kept))
	}
	if err := createFile(path, []byte(name+"\n"), 0o644); err != nil {
		c.Logger.Warn("cannot keep the host's name; write `host` into the configuration", "error", err)
	}
	return name
}

// locationKey names things that belong to a location, in file names and store keys.
func locationKey(location string) string {
	sum := repo.Hash([]byte(location))
	return hex.EncodeToString(sum[:8])
}

// generatedPassword finds the file of a password that was generated for the repository at location, whatever name the
// repository had then; "" when there is none.
func generatedPassword(dataDir, location string) string {
	if dataDir == "" {
		return ""
	}
	entries, err := os.ReadDir(dataDir)
	if err != nil {
		return ""
	}
	for _, e := range entries {
		if strings.HasSuffix(e.Name(), "-"+locationKey(location)+".password") && e.Type().IsRegular() {
			return filepath.Join(dataDir, e.Name())
		}
	}
	return ""
}

// readPassword reads a password file, without the end of its line.
func readPassword(path string) ([]byte, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("generated password: %w", err)
	}
	if data = bytes.TrimRight(data, "\r\n"); len(data) == 0 {
		return nil, fmt.Errorf("generated password: %s is empty: put the saved copy of the password into it", path)
	}
	return data, nil
}

// generatePassword makes a password and has it on disk, durably, before anybody can depend on it. A file that exists
// is never replaced.
func generatePassword(dataDir, name, location string) (password []byte, path string, err error) {
	if dataDir == "" {
		return nil, "", fmt.Errorf("%w: repository %q has no password, and there is no data folder to keep a generated one in: "+
			"write `password`", ErrInvalid, name)
	}
	path = filepath.Join(dataDir, safeName(name)+"-"+locationKey(location)+".password")
	password = randomPassword()
	if err := createFile(path, append(password, '\n'), 0o600); err != nil {
		return nil, "", fmt.Errorf("keep the generated password of repository %q: %w", name, err)
	}
	return password, path, nil
}

// randomPassword is 256 bits as text.
func randomPassword() []byte { return []byte(base64.RawURLEncoding.EncodeToString(randomBytes(32))) }

func randomBytes(n int) []byte {
	b := make([]byte, n)
	rand.Read(b) // never fails
	return b
}

// createFile writes a new file durably: a file that exists, or a power cut, leaves nothing half-written under the name.
func createFile(path string, data []byte, mode fs.FileMode) error {
	return writeFile(path, data, mode, publish)
}

// replaceFile writes a file durably in the place of the one that is there: a crash leaves the old one or the new one. It
// keeps its owner: root may do this for the user of a server, who must be able to read it.
func replaceFile(path string, data []byte, mode fs.FileMode) error {
	return writeFile(path, data, mode, func(temp, path string) error {
		if err := keepOwner(temp, path); err != nil {
			return fmt.Errorf("the owner of %s cannot be kept: run this as that user, or as root: %w", path, err)
		}
		return os.Rename(temp, path)
	})
}

// writeFile writes a file under another name and has give it its own.
func writeFile(path string, data []byte, mode fs.FileMode, give func(temp, path string) error) error {
	dir := filepath.Dir(path)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	temp, err := os.CreateTemp(dir, ".new-*")
	if err != nil {
		return err
	}
	defer os.Remove(temp.Name())
	_, err = temp.Write(data)
	err = errors.Join(err, temp.Chmod(mode), temp.Sync(), temp.Close())
	if err != nil {
		return err
	}
	if err := give(temp.Name(), path); err != nil {
		return err
	}
	return syncDir(dir)
}

// publish gives a finished file its name. Unlike a rename alone it replaces nothing.
func publish(temp, path string) error {
	err := os.Link(temp, path)
	if err == nil || errors.Is(err, fs.ErrExist) {
		return err
	}
	if _, err := os.Lstat(path); err == nil { // a file system without hard links
		return fmt.Errorf("%s: %w", path, fs.ErrExist)
	}
	return os.Rename(temp, path)
}

// lockFolder lets one process at a time do something with a folder, where the file system has locks.
func lockFolder(ctx context.Context, dir, name string) (unlock func(), err error) {
	if dir == "" {
		return func() {}, nil
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	f, err := os.OpenFile(filepath.Join(dir, name), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	for {
		free, err := lockFile(f)
		if free || err != nil {
			return func() { f.Close() }, nil
		}
		if err := sleep(ctx, 50*time.Millisecond); err != nil {
			f.Close()
			return nil, err
		}
	}
}

// safeName makes a name fit for file names and store keys on every system.
func safeName(name string) string {
	safe := strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '-' || r == '_' || r == '.' {
			return r
		}
		return '_'
	}, name)
	if strings.Trim(safe, ".") == "" {
		return "_" + safe
	}
	return safe
}
