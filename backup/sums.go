package backup

import (
	"errors"
	"io"
	"strings"
	"sync"

	"github.com/caddy-backup/caddy-backup/repo"
)

// sumsName is the file that lists the SHA-256 of every regular file of a snapshot, for `sha256sum --check`.
const sumsName = "SHA256SUMS"

// sumsFile streams SHA256SUMS while the dumps go on: a folder may have millions of files.
type sumsFile struct {
	mu    sync.Mutex // files of folders are told from another goroutine
	to    *repo.FileWriter
	fault error
}

func (s *sumsFile) add(path string, sum repo.FileSum) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.fault == nil {
		_, s.fault = io.WriteString(s.to, sumLine(sum.SHA256, path))
	}
}

func (s *sumsFile) close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return errors.Join(s.fault, s.to.Close())
}

var sumEscapes = strings.NewReplacer(`\`, `\\`, "\n", `\n`, "\r", `\r`)

// sumLine is a line as GNU sha256sum writes it: a name with a backslash or an end of line in it is escaped, which a
// backslash at the beginning of the line tells.
func sumLine(sum repo.ID, path string) string {
	mark := ""
	if strings.ContainsAny(path, "\\\n\r") {
		mark, path = `\`, sumEscapes.Replace(path)
	}
	return mark + sum.String() + "  " + path + "\n"
}
