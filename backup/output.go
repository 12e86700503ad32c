package backup

import (
	"errors"
	"slices"
	"strings"
	"unicode/utf8"
)

// The bounds of what is kept of a program's last words, in bytes: with its run, and in a notification, for some of the
// services that take them take no more than 4096 bytes in all.
const (
	outputKept = 4 << 10
	outputTold = 2 << 10
)

// OutputError is a failure beside which stands what the program said that failed. That may be anything, rows and passwords
// included: so it is no part of the error's text, which goes to other systems, but is kept with the run.
type OutputError struct {
	Err    error
	Output string // the last lines
}

// WithOutput is err, with what a program said if it said anything.
func WithOutput(err error, output string) error {
	if err == nil || output == "" {
		return err
	}
	return &OutputError{err, output}
}

// OutputOf is what the program said that failed with err; "" if it said nothing, or none did.
func OutputOf(err error) string {
	if o, ok := errors.AsType[*OutputError](err); ok {
		return o.Output
	}
	return ""
}

func (e *OutputError) Error() string { return e.Err.Error() }
func (e *OutputError) Unwrap() error { return e.Err }

// lastBytes is the end of a text, at most so many bytes of it.
func lastBytes(text string, most int) string {
	if len(text) <= most {
		return text
	}
	cut := len(text) - most
	for cut < len(text) && !utf8.RuneStart(text[cut]) {
		cut++
	}
	return "… " + text[cut:]
}

// outputFor is what a notification to n of one of j's runs may hold of what the program said: nothing unless the job says so.
func (j Job) outputFor(n NamedNotifier, event Event, run Run) string {
	for _, sub := range j.Notify {
		alone := Job{Notify: []Subscription{sub}}
		if sub.Output && slices.Contains(alone.wants(n), event) {
			return lastBytes(run.Output, outputTold)
		}
	}
	return ""
}

// indented puts two spaces before each line.
func indented(text string) string { return "  " + strings.ReplaceAll(text, "\n", "\n  ") + "\n" }
