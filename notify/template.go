package notify

import (
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strings"
	"text/template"
	"time"
	"unicode"

	"github.com/dustin/go-humanize"

	"github.com/caddy-backup/caddy-backup/backup"
	"github.com/caddy-backup/caddy-backup/internal/setting"
)

// told is what templates are given: the fields of the notification, and Enclosed.
type told struct {
	backup.Notification
	Enclosed string // what a mail says of the dump: what is attached, or links to it. Elsewhere empty.
}

// wording is a template of the user's; nil says what we say.
type wording struct {
	*template.Template
}

// parseWording reads a template and has it say something of every event, so that what is wrong with it is told when the
// configuration is loaded and not in the night. "" is no template.
func parseWording(setting, text string, check func(said string) error) (*wording, error) {
	if text == "" {
		return nil, nil
	}
	t, err := template.New(setting).Funcs(template.FuncMap{"json": toJSON, "size": toSize}).Parse(text)
	if err != nil {
		return nil, fmt.Errorf("bad %s value: %w", setting, err)
	}
	w := &wording{t}
	for _, event := range append(slices.Clone(backup.Events), backup.EventMail) {
		said, err := w.say(sample(event))
		if err == nil && check != nil {
			err = check(said)
		}
		if err != nil {
			return nil, fmt.Errorf("bad %s value, of the event %s: %w", setting, event, err)
		}
	}
	return w, nil
}

// readWording is parseWording for a template in a file.
func readWording(path string, check func(said string) error) (*wording, error) {
	if path == "" {
		return nil, nil
	}
	path, err := setting.Resolve("template", path)
	if err != nil {
		return nil, err
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("template: %w", err)
	}
	if len(text) == 0 {
		return nil, fmt.Errorf("template: %s is empty", path)
	}
	return parseWording("template", string(text), check)
}

// say fills the template in. What it does not have a field for is an error.
func (w *wording) say(x told) (string, error) {
	x.Dump = nil // it does things, and a template only says them
	var b strings.Builder
	err := w.Execute(&b, x)
	return b.String(), err
}

// sayOr says it by the template, or, without one, or when it fails, as we do: no template keeps news from being told.
func (w *wording) sayOr(x told, ours string) string {
	if w == nil {
		return ours
	}
	said, err := w.say(x)
	if err != nil {
		return ours
	}
	return said
}

func toJSON(v any) (string, error) {
	data, err := json.Marshal(v)
	return string(data), err
}

func toSize(bytes int64) string { return humanize.IBytes(uint64(max(bytes, 0))) }

// oneLine makes a header of a text: whatever a database said, it begins no other header.
func oneLine(text string) string {
	text = strings.ToValidUTF8(text, "\uFFFD")
	words := strings.FieldsFunc(text, func(r rune) bool { return unicode.IsControl(r) || unicode.IsSpace(r) })
	line := []rune(strings.Join(words, " "))
	return string(line[:min(len(line), maxSubject)])
}

// maxSubject is how many characters of a subject people read at most.
const maxSubject = 250

// sample is a notification in which every field says something.
func sample(event backup.Event) told {
	at := time.Date(2026, 11, 22, 2, 17, 0, 0, time.UTC)
	return told{backup.Notification{
		ID:    "20261122t021700z-0000-" + string(event),
		Event: event, Title: "backup of shop on server is done", Text: "The backup of shop on server is done.\n", Host: "server", Job: "shop",
		Repository: "default", Run: "20261122t021700z-0000", State: backup.StateOK, Error: "the database is gone", Output: "it \"said\" this\n",
		Started: at, Ended: at.Add(time.Minute), BadSince: at, Bad: 1, LastGood: at, Since: at, Reasons: []string{"it is overdue"}, Told: 1, Snapshot: strings.Repeat("0", 64), Read: 1, New: 1, Stored: 1,
		Link: "https://backups.example.com/runs/20261122t021700z-0000", MailTo: []string{"ops@example.com"},
	}, "Attached:\n  shop.sql.gz, 1 KiB\n"}
}
