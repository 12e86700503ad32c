package dump

import (
	"bytes"
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
	What     string   `json:"what"` // "info", "load", "drill"
	Mark     string   `json:"mark"`
	Apps     []string `json:"apps"`
	Exclude  []string `json:"exclude"`
	Database string   `json:"database"`
	Format   string   `json:"format"`
	Empty    bool     `json:"empty"`

	Rows map[string]int64 `json:"rows"` // that must be there in the end
}

// djangoProject is what a project says of itself.
type djangoProject struct {
	Problems []string       `json:"problems"`
	Django   string         `json:"django"` // version
	Settings string         `json:"settings"`
	Media    string         `json:"media"`  // MEDIA_ROOT
	Vendor   string         `json:"vendor"` // "postgresql", "mysql", "sqlite"
	Database djangoDatabase `json:"database"`
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
func (d *Django) project(ctx context.Context, t *backup.Task) (p djangoProject, err error) {
	limit := tooLong(projectTime)
	ctx, cancel := context.WithTimeoutCause(ctx, projectTime, limit)
	defer cancel()
	if t == nil {
		t = &backup.Task{Log: slog.New(slog.DiscardHandler), Journal: noJournal{}}
	}
	asked := djangoAsked{What: "info", Apps: append([]string{}, d.Apps...), Exclude: append([]string{}, d.Exclude...), Database: d.alias()}
	if err := d.ask(ctx, t, asked, nil, nil, nil, &p); err != nil {
		return p, fmt.Errorf("asking %s: %w", d.Manage, err)
	}
	if p.Django == "" {
		return p, fmt.Errorf("%s: %s", d.Manage, strings.Join(p.Problems, "; "))
	}
	return p, nil
}

// noJournal is for what ends soon, and with us.
type noJournal struct{}

func (noJournal) Started(int) func() { return func() {} }

// ask runs ask.py, gives it in, and reads its answer.
func (d *Django) ask(ctx context.Context, t *backup.Task, asked djangoAsked, env, args []string, in io.Reader, answer any) error {
	asked.Mark = "caddy-backup " + rand.Text() + " "
	words, err := json.Marshal(asked)
	if err != nil {
		return err
	}
	p, err := d.program(append([]string{"shell", "--command=" + djangoCode}, args...)...)
	if err != nil {
		return err
	}
	p.env = append(append(p.env, "CADDY_BACKUP="+string(words)), env...)
	printed := &tailWriter{keep: 1 << 20}
	if _, err := p.run(ctx, t, in, printed); err != nil {
		return err
	}
	_, line, found := bytes.Cut(printed.last, []byte("\n"+asked.Mark))
	line, _, whole := bytes.Cut(line, []byte("\n"))
	if !found || !whole {
		return errors.New("manage.py shell ended well, but has not answered: is this the manage.py of a Django project?")
	}
	return json.Unmarshal(line, answer)
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
		return program{}, fmt.Errorf("user %s cannot find manage.py: %w", userName(), err)
	}
	p := program{path: path, args: append([]string{d.Manage}, args...), dir: filepath.Dir(d.Manage)}
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
