package dump

import (
	"bufio"
	"bytes"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strings"

	"github.com/caddy-backup/caddy-backup/backup"
)

// readFixture reads what dumpdata printed to its end, and counts the objects of each model. What else stands there is an error
// that shows it: something in the project prints, and the fixture would not load.
func readFixture(format string, r io.Reader) (map[string]int64, error) {
	in, rows := bufio.NewReaderSize(r, copyBuffer), map[string]int64{}
	var err error
	switch format {
	case "json":
		err = readJSONFixture(in, rows)
	case "jsonl":
		err = readJSONLines(in, rows)
	case "xml":
		err = readXMLFixture(in, rows)
	case "yaml":
		err = readYAMLFixture(in, rows)
	}
	if err != nil {
		return nil, err
	}
	return rows, nil
}

// fixtureAlong is a fixture on its way to a project, which is seen to end only when it is whole: not every format has Django notice.
type fixtureAlong struct {
	r     io.Reader
	tee   *io.PipeWriter
	judge chan error
}

func readFixtureAlong(format string, r io.Reader) *fixtureAlong {
	in, tee := io.Pipe()
	f := &fixtureAlong{r: r, tee: tee, judge: make(chan error, 1)}
	go func() {
		_, err := readFixture(format, in)
		in.CloseWithError(err)
		f.judge <- err
	}()
	return f
}

func (f *fixtureAlong) Read(p []byte) (int, error) {
	n, err := f.r.Read(p)
	if _, fault := f.tee.Write(p[:n]); fault != nil {
		return 0, fault
	}
	if err != io.EOF {
		return n, err
	}
	f.tee.Close()
	fault := <-f.judge
	f.judge <- fault
	if fault != nil {
		return n, fault
	}
	return n, io.EOF
}

// Close gives up what was not read.
func (f *fixtureAlong) Close() error { return f.tee.CloseWithError(io.ErrClosedPipe) }

// fixtureObject is what every object has: the model's name.
type fixtureObject struct {
	Model string `json:"model"`
}

// noise is an error about what does not belong into a fixture. What it is stands beside the error, as what programs say does: rows may
// follow right behind it.
func noise(text []byte) error {
	return backup.WithOutput(errors.New("the project prints something else into the fixture, and nothing could load that; what it is "+
		"stands with the run: have it write to standard error, or not at all"), fmt.Sprintf("%.300s", bytes.TrimSpace(text)))
}

// around is the next few bytes of what a decoder has read but not taken, and what follows.
func around(dec *json.Decoder, in *bufio.Reader) []byte {
	text, _ := io.ReadAll(io.LimitReader(dec.Buffered(), 300))
	more, _ := in.Peek(min(in.Buffered(), 300))
	return append(text, more...)
}

func readJSONFixture(in *bufio.Reader, rows map[string]int64) error {
	if err := skipSpace(in); err != nil {
		return fixtureEnd(err)
	}
	if first, _ := in.Peek(1); first[0] != '[' {
		text, _ := in.Peek(min(in.Buffered(), 300))
		return noise(text)
	}
	dec := json.NewDecoder(in)
	if _, err := dec.Token(); err != nil {
		return fixtureEnd(err)
	}
	for dec.More() {
		if err := readJSONObject(dec, in, rows); err != nil {
			return err
		}
	}
	if _, err := dec.Token(); err != nil {
		return jsonError(dec, in, err)
	}
	rest := io.MultiReader(dec.Buffered(), in)
	text, err := io.ReadAll(io.LimitReader(rest, 300))
	for err == nil && len(text) > 0 {
		if len(bytes.TrimSpace(text)) > 0 {
			return noise(text)
		}
		text, err = io.ReadAll(io.LimitReader(rest, 300))
	}
	return err
}

func readJSONObject(dec *json.Decoder, in *bufio.Reader, rows map[string]int64) error {
	var o fixtureObject
	if err := dec.Decode(&o); err != nil {
		return jsonError(dec, in, err)
	}
	if o.Model == "" {
		return errors.New("an object of the fixture does not say its model")
	}
	rows[o.Model]++
	return nil
}

func readJSONLines(in *bufio.Reader, rows map[string]int64) error {
	dec := json.NewDecoder(in)
	for {
		if !dec.More() {
			_, err := dec.Token()
			if errors.Is(err, io.EOF) {
				return nil
			}
			return jsonError(dec, in, err)
		}
		if err := readJSONObject(dec, in, rows); err != nil {
			return err
		}
	}
}

// jsonError tells noise from a fixture that is cut off, and both from what went wrong with reading.
func jsonError(dec *json.Decoder, in *bufio.Reader, err error) error {
	syntax, isSyntax := errors.AsType[*json.SyntaxError](err)
	_, isType := errors.AsType[*json.UnmarshalTypeError](err)
	switch {
	case isSyntax && strings.HasPrefix(syntax.Error(), "unexpected end"):
		return errFixtureCut
	case isSyntax || isType:
		return noise(around(dec, in))
	}
	return fixtureEnd(err)
}

var errFixtureCut = errors.New("the fixture is cut off")

// fixtureEnd is an end that comes too early.
func fixtureEnd(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return errFixtureCut
	}
	return err
}

func skipSpace(in *bufio.Reader) error {
	for {
		c, err := in.ReadByte()
		if err != nil {
			return err
		}
		if c > ' ' {
			return in.UnreadByte()
		}
	}
}

func readXMLFixture(in *bufio.Reader, rows map[string]int64) error {
	dec := xml.NewDecoder(in)
	depth, ended := 0, false
	for {
		token, err := dec.Token()
		switch {
		case err == io.EOF && ended:
			return nil
		case err == io.EOF:
			return errFixtureCut
		case err != nil:
			if syntax, ok := errors.AsType[*xml.SyntaxError](err); ok && !strings.Contains(syntax.Msg, "unexpected EOF") {
				return noise([]byte(err.Error()))
			} else if ok {
				return errFixtureCut
			}
			return err
		}
		switch token := token.(type) {
		case xml.StartElement:
			if depth == 0 && (ended || token.Name.Local != "django-objects") {
				return noise([]byte("<" + token.Name.Local + ">"))
			}
			if depth == 1 {
				rows[modelOf(token)]++
			}
			depth++
		case xml.EndElement:
			depth--
			ended = depth == 0
		case xml.CharData:
			if depth == 0 && len(bytes.TrimSpace(token)) > 0 {
				return noise(token)
			}
		}
	}
}

func modelOf(e xml.StartElement) string {
	for _, a := range e.Attr {
		if a.Name.Local == "model" {
			return a.Value
		}
	}
	return ""
}

var yamlObject = regexp.MustCompile(`^- +(?:(?:fields|pk):|model: (\S+)$|\{)`)

// readYAMLFixture goes by the lines of PyYAML: an object begins at the margin with a dash, all else of it is indented.
func readYAMLFixture(in *bufio.Reader, rows map[string]int64) error {
	for n := 0; ; n++ {
		line, more, err := in.ReadLine()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		text := bytes.Clone(line)
		for more && err == nil {
			_, more, err = in.ReadLine()
		}
		switch object := yamlObject.FindSubmatch(text); {
		case object != nil && object[1] != nil:
			rows[string(object[1])]++
		case len(text) == 0 || text[0] == ' ' || object != nil || n == 0 && string(text) == "[]":
		default:
			return noise(text)
		}
	}
}
