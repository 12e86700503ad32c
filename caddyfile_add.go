package caddybackup

import (
	"errors"
	"fmt"
	"strconv"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
)

// jobWords is a job as a command line gives it: the line of its source, and lines of both blocks. They are put together to what
// would stand in a Caddyfile, which the parser of the Caddyfile reads: there is one grammar.
type jobWords struct {
	job    string     // its name
	source []string   // name, engine and arguments
	with   blockLines // of the source
	set    blockLines // of the job
}

// blockLines are lines of a block: those that options stand for, in words, and those that were written out.
type blockLines struct {
	words   [][]string
	written []string
}

func (l *blockLines) add(words ...string) { l.words = append(l.words, words) }

// parse reads the job. Errors say in which option they are.
func (w jobWords) parse() (*Job, error) {
	b := new(tokenList)
	b.line("job", w.job, "{")
	source := append([]string{"source"}, w.source...)
	var err error
	if len(w.with.words)+len(w.with.written) > 0 {
		b.line(append(source, "{")...)
		err = b.lines("--with", w.with)
		b.line("}")
	} else {
		b.line(source...)
	}
	err = errors.Join(err, b.lines("--set", w.set))
	b.line("}")
	if err != nil {
		return nil, err
	}
	return parseJob(b.tokens)
}

// parseJobFile reads the text of a file that holds one job, as it would stand in the global option. The place is for errors.
func parseJobFile(text []byte, place string) (*Job, error) {
	tokens, err := caddyfile.Tokenize(text, place)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", place, err)
	}
	return parseJob(tokens)
}

// parseJob reads one job, and nothing else.
func parseJob(tokens []caddyfile.Token) (*Job, error) {
	d, app := caddyfile.NewDispenser(tokens), new(App)
	for d.Next() {
		if d.Val() != "job" {
			return nil, d.Errf("'%s' is not the beginning of a job: write job <name> { … }", d.Val())
		}
		if err := app.unmarshalJob(d); err != nil {
			return nil, err
		}
	}
	if len(app.Jobs) != 1 {
		return nil, fmt.Errorf("there are %d jobs: give one at a time", len(app.Jobs))
	}
	return app.Jobs[0], nil
}

// tokenList makes tokens, line by line. Each line says that it is of a file of its own, so that no token can be taken for one of
// the line before, whatever line breaks there are in it; the file is what errors name.
type tokenList struct {
	tokens []caddyfile.Token
	count  int
}

func (b *tokenList) line(words ...string) {
	b.count++
	for _, word := range words {
		b.tokens = append(b.tokens, caddyfile.Token{File: "line " + strconv.Itoa(b.count), Line: 1, Text: word})
	}
}

func (b *tokenList) lines(option string, lines blockLines) error {
	for _, words := range lines.words {
		b.line(words...)
	}
	for i, text := range lines.written {
		place := option
		if len(lines.written) > 1 {
			place += " " + strconv.Itoa(i+1)
		}
		tokens, err := caddyfile.Tokenize([]byte(text), place)
		if err != nil {
			return fmt.Errorf("%s: %w", place, err)
		}
		b.tokens = append(b.tokens, tokens...)
	}
	return nil
}
