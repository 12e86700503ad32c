package backup

import (
	"errors"
	"fmt"
	"strings"
	"unicode"

	"github.com/caddy-backup/caddy-backup/repo"
)

// plural counts things: "1 file", "12 files".
func plural[N int | int64](n N, thing string) string {
	if n == 1 {
		return "1 " + thing
	}
	return fmt.Sprintf("%d %ss", n, thing)
}

// were is plural with its verb: "1 error was", "2 errors were".
func were[N int | int64](n N, thing string) string {
	if n == 1 {
		return plural(n, thing) + " was"
	}
	return plural(n, thing) + " were"
}

// explain says of an error which repository it is about, where that is, and the way out.
func (v *vault) explain(err error) error {
	way := ""
	switch {
	case err == nil:
		return nil
	case errors.Is(err, repo.ErrWrongPassword):
		way = "; correct `password` in the configuration"
	case errors.Is(err, repo.ErrLocked):
		way = ": " + v.command("unlock")
	case errors.Is(err, repo.ErrNoRepository):
		way = "; the first backup makes it, or now: " + v.command("init")
	case errors.Is(err, repo.ErrIndex):
		way = ": " + v.command("repair index")
	case errors.Is(err, repo.ErrDamaged):
		way = "; bring the named file back from a copy of the repository, and run: " + v.command("check")
	}
	at := ""
	if !strings.Contains(err.Error(), v.location) {
		at = " at " + v.location
	}
	return fmt.Errorf("repository %q%s: %w%s", v.name, at, err, way)
}

// command is a command line that does something with the repository; the name is quoted for a shell where it must be.
func (v *vault) command(do string) string {
	return "caddy backup " + do + " --repository " + shellWord(v.name)
}

// shellWord quotes a word for a shell where it must be.
func shellWord(s string) string {
	plain := func(r rune) bool {
		return unicode.IsLetter(r) || unicode.IsDigit(r) || strings.ContainsRune("._-/:@+=,", r)
	}
	if s != "" && !strings.ContainsFunc(s, func(r rune) bool { return !plain(r) }) {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}
