package handler

import (
	"fmt"
	"html/template"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/dustin/go-humanize"

	"github.com/caddy-backup/caddy-backup/backup"
)

// funcs are the words that templates say things with.
var funcs = template.FuncMap{
	"of":      func(f Frame, it any) piece { return piece{f, it} },
	"size":    size,
	"count":   func(n int64) string { return humanize.Comma(n) },
	"machine": func(t time.Time) string { return t.UTC().Format(time.RFC3339) },
	"clock":   func(t time.Time) string { return t.UTC().Format("2006-01-02 15:04 UTC") },
	"second":  func(t time.Time) string { return t.UTC().Format("15:04:05") },
	"ago":     func(t time.Time) string { return humanize.RelTime(t, time.Now(), "ago", "from now") },
	"took":    took,
	"short":   short,
	"percent": percent,
	"lower":   strings.ToLower,
	"plural":  plural,
	"facts":   facts,
	"seconds": seconds,
	"checks":  checks,

	"sentence": sentence,
	"standing": standing,
}

// size says bytes the way people read them: "12 MiB".
func size(n int64) string {
	if n < 0 {
		return "–"
	}
	return humanize.IBytes(uint64(n))
}

// took says how long a run went on, or has been going on until now.
func took(r backup.Run, now time.Time) string {
	if r.Started.IsZero() {
		return "–"
	}
	end := r.Ended
	if end.IsZero() {
		end = now
	}
	d := max(end.Sub(r.Started), 0)
	switch {
	case d < time.Second:
		return "under 1 s"
	case d < time.Minute:
		return d.Round(100 * time.Millisecond).String()
	}
	text := d.Round(time.Second).String()
	if strings.HasSuffix(text, "m0s") {
		return strings.TrimSuffix(text, "0s")
	}
	return text
}

// short is an ID as people tell it apart.
func short(id string) string { return id[:min(8, len(id))] }

// percent is how much of a run is done, 0 when its length is unknown.
func percent(p backup.Progress) int64 {
	if p.Total <= 0 {
		return 0
	}
	return min(100, p.Bytes*100/p.Total)
}

// plural is "1 snapshot", "2 snapshots".
func plural(n int, one string) string {
	if n == 1 {
		return "1 " + one
	}
	return humanize.Comma(int64(n)) + " " + one + "s"
}

// facts is a line of what the manifest tells of a part.
func facts(p *backup.ManifestPart) string {
	var list []string
	if p.Folder {
		list = append(list, plural(int(p.Files), "file")+", "+size(p.Size))
	}
	for _, fact := range []string{p.Engine, p.Facts.Source} {
		if fact != "" {
			list = append(list, fact)
		}
	}
	if p.Checked != "" {
		list = append(list, "checked: "+p.Checked)
	}
	return strings.Join(list, " · ")
}

// seconds says how long a drill of a part took.
func seconds(s float64) string {
	d := time.Duration(s * float64(time.Second))
	if d < 100*time.Millisecond {
		return "under 0.1 s"
	}
	return d.Round(100 * time.Millisecond).String()
}

// checks are the single findings of a line that tells how something was checked.
func checks(line string) []string {
	return strings.FieldsFunc(line, func(r rune) bool { return r == ';' })
}

// standing is the word for the state of a run, or for how a job stands.
func standing(state any) string {
	switch word := fmt.Sprint(state); backup.Standing(word) {
	case backup.StandingNever:
		return "no backup yet"
	case backup.StandingFound:
		return "no backup here yet"
	case backup.StandingUnproven:
		return "drill failed"
	case backup.StandingUndrilled:
		return "drill overdue"
	default:
		return word
	}
}

// sentence begins a text with a capital letter, unless a path or the like begins it, and ends it with a full stop.
func sentence(text string) string {
	if text == "" {
		return ""
	}
	first, n := utf8.DecodeRuneInString(text)
	return string(unicode.ToUpper(first)) + text[n:] + "."
}
