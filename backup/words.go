package backup

import (
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode"

	"github.com/dustin/go-humanize"

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

// ago is how long before now something was: "3 hours ago", "just now".
func ago(t, now time.Time) string {
	if text := humanize.RelTime(t, now, "ago", "from now"); text != "now" {
		return text
	}
	return "just now"
}

// explain says of an error which repository it is about, where that is, and the way out.
func (v *vault) explain(err error) error {
	if err == nil {
		return nil
	}
	at := ""
	if !strings.Contains(err.Error(), v.location) {
		at = " at " + v.location
	}
	way := v.wayOut(err)
	if v.readOnly {
		way = wayToRecover(err)
	}
	return fmt.Errorf("repository %q%s: %w%s", v.name, at, err, way)
}

// wayOut is what an error of a repository of the configuration ends with.
func (v *vault) wayOut(err error) string {
	switch {
	case errors.Is(err, repo.ErrWrongPassword):
		return "; correct `password` in the configuration"
	case errors.Is(err, repo.ErrLocked):
		return ": " + v.command("unlock")
	case errors.Is(err, repo.ErrNoRepository):
		return "; the first backup makes it, or now: " + v.command("init")
	case errors.Is(err, repo.ErrIndex):
		return ": " + v.command("repair index")
	case errors.Is(err, repo.ErrDamaged) && strings.Contains(err.Error(), "file snapshots/"):
		return "; bring the named file back from a copy of the repository, or give it up: " + v.command("repair snapshots --forget")
	case errors.Is(err, repo.ErrDamaged):
		return "; bring the named file back from a copy of the repository, and run: " + v.command("check")
	}
	return ""
}

// wayToRecover is wayOut for a recovery, which has no configuration and changes nothing.
func wayToRecover(err error) string {
	switch {
	case errors.Is(err, repo.ErrWrongPassword):
		return "; the recovery kit says what the password is, or where"
	case errors.Is(err, repo.ErrNoRepository):
		return "; it is the folder in which the file config and the folders data, index, keys and snapshots lie: is the path right, " +
			"is its disk mounted? When only config is missing, bring that back from a copy of the repository"
	case errors.Is(err, repo.ErrDamaged):
		return "; bring the named file back from a copy of the repository"
	}
	return ""
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
