package dump

import (
	"bytes"
	"cmp"
	"context"
	"crypto/rand"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/caddy-backup/caddy-backup/backup"
)

//go:embed django_code/ask.py
var djangoCode string

// djangoAsked is what ask.py is told.
type djangoAsked struct {
	What     string   `json:"what"` // "info", "dump", "load", "drill"
	Mark     string   `json:"mark"`
	Apps     []string `json:"apps"`
	Exclude  []string `json:"exclude"`
	Database string   `json:"database"`
	Format   string   `json:"format"`

	// Of info: what only the database can tell; and how to reach it, which is secret.
	Connect bool `json:"connect"`
	Look    bool `json:"look"` // whether each model can be read
	Secrets bool `json:"secrets"`
	// Of info and dump.
	Natural bool `json:"natural"`
	// Of dump.
	Indent int `json:"indent"`
	// Of load and drill.
	Empty bool             `json:"empty"`
	Force bool             `json:"force"` // also what does not know all fields of the models
	Rows  map[string]int64 `json:"rows"`  // that must be there in the end
}

// djangoProject is what a project says of itself.
type djangoProject struct {
	Problems []string `json:"problems"`
	Apps     []string `json:"apps"`   // that have models
	Django   string   `json:"django"` // version
	Settings string   `json:"settings"`
	Media    string   `json:"media"` // MEDIA_ROOT
	// Elsewhere is the class of the storage to which files that people send go, when that is not MEDIA_ROOT.
	Elsewhere string `json:"elsewhere"`
	Vendor    string `json:"vendor"` // "postgresql", "mysql", "sqlite"

	Configuration string `json:"configuration"` // of the package django-configurations

	// Only when the database was asked too.
	Views     []string `json:"views"`     // models of which nothing can be put back
	Unsafe    []string `json:"unsafe"`    // tables that know no transactions
	Unapplied []string `json:"unapplied"` // migrations
	Cascades  []string `json:"cascades"`  // tables of others whose rows the server would change with those that go
	Journal   string   `json:"journal"`   // mode of SQLite

	Database djangoDatabase `json:"database"` // only when secrets were asked for
}

// djangoDatabase is an entry of DATABASES: secret.
type djangoDatabase struct {
	Name, User, Password, Host string
	Port                       any
	Options                    map[string]any
}

// projectTime is how long a project may take to say what it is.
const projectTime = time.Minute

// project asks the project. t may be nil.
func (d *Django) project(ctx context.Context, t *backup.Task) (djangoProject, error) {
	return d.told(ctx, t, djangoAsked{Secrets: d.native()})
}

// connected asks the project and its database. Problems are an error.
func (d *Django) connected(ctx context.Context, t *backup.Task) (djangoProject, error) {
	p, err := d.told(ctx, t, djangoAsked{Connect: true})
	if err == nil && len(p.Problems) > 0 {
		err = fmt.Errorf("%s: %s", d.Manage, strings.Join(p.Problems, "; "))
	}
	return p, err
}

func (d *Django) told(ctx context.Context, t *backup.Task, asked djangoAsked) (p djangoProject, err error) {
	limit := tooLong(projectTime)
	ctx, cancel := context.WithTimeoutCause(ctx, projectTime, limit)
	defer cancel()
	if t == nil {
		t = &backup.Task{Log: slog.New(slog.DiscardHandler), Journal: noJournal{}}
	}
	asked.What, asked.Apps, asked.Exclude, asked.Database = "info", d.Apps, d.Exclude, d.alias()
	asked.Natural = d.NaturalKeys
	if err := d.ask(ctx, t, asked, nil, nil, nil, &p); err != nil {
		return p, fmt.Errorf("asking %s: %w", d.Manage, d.explain(err))
	}
	if p.Django == "" {
		return p, fmt.Errorf("%s: %s", d.Manage, strings.Join(p.Problems, "; "))
	}
	return p, nil
}

// noJournal is for what ends soon, and with us.
type noJournal struct{}

func (noJournal) Started(int) func() { return func() {} }

// ask runs ask.py, gives it in, and reads its answer. An error is ErrIncomplete when what it did may have been done: it had begun to
// commit.
func (d *Django) ask(ctx context.Context, t *backup.Task, asked djangoAsked, env, args []string, in io.Reader, answer any) error {
	p, mark, err := d.asking(asked, env, args)
	if err != nil {
		return err
	}
	if in != nil {
		vouch, vouched, err := os.Pipe()
		if err != nil {
			return err
		}
		defer vouch.Close()
		defer vouched.Close()
		fixture := readFixtureAlong(asked.Format, in)
		defer fixture.Close()
		p.files, in = []*os.File{vouch}, &vouchedReader{fixture, vouched}
	}
	printed := &tailWriter{keep: 1 << 20}
	_, err = p.run(ctx, t, in, printed)
	answers := markedLines(printed.last, mark)
	last, loading := len(answers)-1, asked.What == "load" // which says before the commit that it comes, and answers behind it
	switch {
	case loading && last == 1: // whatever became of the program after that
		return json.Unmarshal(answers[last], answer)
	case loading && last == 0:
		return fmt.Errorf("%w: it was being committed, and may be there or not: %w", backup.ErrIncomplete, cmp.Or(err, errNoAnswer))
	case err != nil:
		return err
	case last < 0:
		return errNoAnswer
	}
	return json.Unmarshal(answers[last], answer)
}

var errNoAnswer = errors.New("manage.py shell ended well, but has not answered: is this the manage.py of a Django project?")

// markedLines are what stands behind the mark at the beginning of lines that are whole.
func markedLines(text []byte, mark string) (lines [][]byte) {
	for {
		_, rest, found := bytes.Cut(text, []byte("\n"+mark))
		line, _, whole := bytes.Cut(rest, []byte("\n"))
		if !found || !whole {
			return lines
		}
		lines, text = append(lines, line), rest[len(line):]
	}
}

// vouchedReader tells a program, by a pipe, that what it read was all. The end of its input alone does not say that: it comes as well
// when we are killed.
type vouchedReader struct {
	r     io.Reader
	vouch *os.File
}

func (v *vouchedReader) Read(p []byte) (int, error) {
	n, err := v.r.Read(p)
	if err == io.EOF {
		if _, err := v.vouch.WriteString("whole"); err != nil {
			return n, err
		}
	}
	return n, err
}

// asking is the program that runs ask.py, and the mark of its answers.
func (d *Django) asking(asked djangoAsked, env, args []string) (p program, mark string, err error) {
	asked.Mark = "caddy-backup " + rand.Text() + " "
	asked.Apps, asked.Exclude = append([]string{}, asked.Apps...), append([]string{}, asked.Exclude...)
	words, err := json.Marshal(asked)
	if err != nil {
		return p, "", err
	}
	p, err = d.program(append([]string{"shell", "--verbosity=0", "--command=" + djangoCode}, args...)...)
	p.env = append(append(p.env, "CADDY_BACKUP="+string(words)), env...)
	return p, asked.Mark, err
}

// program is manage.py with arguments, in its folder, as the user who is wanted.
func (d *Django) program(args ...string) (program, error) {
	python := d.Python
	switch {
	case d.Virtualenv != "":
		python = filepath.Join(d.Virtualenv, "bin", "python")
	case python == "":
		python = "python3"
	}
	path, err := findProgram(python)
	if err != nil {
		return program{}, err
	}
	if _, err := os.Stat(d.Manage); err != nil {
		return program{}, fmt.Errorf("user %s cannot find manage.py: %w; correct the path in the source django, or let the user in", userName(), err)
	}
	p := program{path: path, args: append([]string{d.Manage}, args...), dir: filepath.Dir(d.Manage)}
	if d.Settings != "" { // also where manage.py insists on others
		p.args = slices.Insert(p.args, 2, "--settings="+d.Settings)
	}
	// Without its compiled files: they would belong to us.
	own := []string{"PYTHONDONTWRITEBYTECODE=1", "PYTHONIOENCODING=utf-8"}
	if d.Settings != "" {
		own = append(own, "DJANGO_SETTINGS_MODULE="+d.Settings)
	}
	p.env = environ(append(own, d.env...)...)
	if d.User != "" {
		if err := p.become(d.User); err != nil {
			return program{}, err
		}
	}
	return p, nil
}

// become has a program run as another user, with that one's groups and home.
func (p *program) become(name string) error {
	u, err := user.Lookup(name)
	if err != nil {
		return fmt.Errorf("user %s: %w", name, err)
	}
	uid, _ := strconv.ParseUint(u.Uid, 10, 32)
	gid, _ := strconv.ParseUint(u.Gid, 10, 32)
	if os.Geteuid() == int(uid) {
		return nil
	}
	if os.Geteuid() != 0 {
		return fmt.Errorf("cannot run %s as user %s: we are user %s, and only root can become somebody else; "+
			"leave `user` out, and let %s read what the project needs", filepath.Base(p.path), name, userName(), userName())
	}
	p.as = &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}
	ids, err := u.GroupIds()
	if err != nil {
		return fmt.Errorf("groups of user %s: %w", name, err)
	}
	for _, id := range ids {
		if gid, err := strconv.ParseUint(id, 10, 32); err == nil {
			p.as.Groups = append(p.as.Groups, uint32(gid))
		}
	}
	p.env = append(p.env, "HOME="+u.HomeDir, "USER="+name, "LOGNAME="+name)
	return nil
}
