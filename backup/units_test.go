package backup

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/caddy-backup/caddy-backup/repo"
)

var quiet = slog.New(slog.DiscardHandler)

// TestSumLine has GNU sha256sum write the same lines.
func TestSumLine(t *testing.T) {
	dir := t.TempDir()
	names := []string{"plain.txt", "with space", `back\slash`, "new\nline", "carriage\rreturn", "ünïcode", "-dash", "bytes\xff\xfe", `\n`}
	var want strings.Builder
	for _, name := range names {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(name), 0o600); err != nil {
			t.Fatal(err)
		}
		want.WriteString(sumLine(repo.Hash([]byte(name)), name))
	}
	cmd := exec.Command("sha256sum", append([]string{"--"}, names...)...)
	cmd.Dir = dir
	got, err := cmd.Output()
	if errors.Is(err, exec.ErrNotFound) {
		t.Skip("NOT TESTED: sha256sum is not installed")
	}
	if err != nil || string(got) != want.String() {
		t.Errorf("%v\nsha256sum: %q\nours:      %q", err, got, want.String())
	}
}

func TestSetup(t *testing.T) {
	st, other := place("/srv/a"), place("/srv/b")
	good := Job{Name: "shop", Sources: []NamedSource{{Name: "db", Source: nothingSource{}}}}
	repos := []RepositoryConfig{{Storage: st}}
	with := func(change func(*Job)) []Job { j := good; change(&j); return []Job{j} }
	cases := map[string]struct {
		config Config
		want   string // "" = good
	}{
		"empty":             {Config{}, ""},
		"good":              {Config{Repositories: repos, Jobs: []Job{good}}, ""},
		"same name":         {Config{Repositories: []RepositoryConfig{{Storage: st}, {Storage: other}}}, `two repositories are named "default"`},
		"same place":        {Config{Repositories: []RepositoryConfig{{Storage: st}, {Name: "x", Storage: place("/srv/a")}}}, `"default" and "x" are both at /srv/a`},
		"no storage":        {Config{Repositories: []RepositoryConfig{{Name: "x"}}}, "has no storage"},
		"bad name":          {Config{Repositories: []RepositoryConfig{{Name: "a/b", Storage: st}}}, `"a/b" cannot be the name of a repository`},
		"same job":          {Config{Repositories: repos, Jobs: []Job{good, good}}, `two jobs are named "shop"`},
		"job without name":  {Config{Repositories: repos, Jobs: with(func(j *Job) { j.Name = "" })}, `"" cannot be the name of a job`},
		"job up":            {Config{Repositories: repos, Jobs: with(func(j *Job) { j.Name = ".." })}, `".." cannot`},
		"no repository":     {Config{Jobs: []Job{good}}, "there are no repositories"},
		"wrong repository":  {Config{Repositories: repos, Jobs: with(func(j *Job) { j.To = "offsite" })}, `no repository is named "offsite"; there are: default`},
		"no source":         {Config{Repositories: repos, Jobs: with(func(j *Job) { j.Sources = nil })}, `job "shop" has no source`},
		"two sources":       {Config{Repositories: repos, Jobs: with(func(j *Job) { j.Sources = append(slices.Clone(j.Sources), j.Sources...) })}, `two sources named "db"`},
		"source of nothing": {Config{Repositories: repos, Jobs: with(func(j *Job) { j.Sources = []NamedSource{{Name: "db"}} })}, "can do nothing"},
	}
	for name, c := range cases {
		s, err := newSetup(c.config)
		if c.want == "" {
			if err != nil || s.Zone == nil || s.Logger == nil || s.Store == nil {
				t.Errorf("%s: %v", name, err)
			}
			continue
		}
		if !errors.Is(err, ErrInvalid) && !errors.Is(err, ErrNotFound) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// place is a storage that only has a location.
type place string

func (p place) Location() string { return string(p) }

func (place) Put(context.Context, string, []byte) error                 { panic("not asked for") }
func (place) Get(context.Context, string, int64, int64) ([]byte, error) { panic("not asked for") }
func (place) Delete(context.Context, string) error                      { panic("not asked for") }
func (place) List(context.Context, string) iter.Seq2[repo.FileInfo, error] {
	panic("not asked for")
}

// nothingSource is a source that is never asked.
type nothingSource struct{ Source }

func TestKeptHost(t *testing.T) {
	dir := t.TempDir()
	c := &setup{Config: Config{DataDir: dir, Logger: quiet}}
	machine, _ := os.Hostname()
	if got := keptHost(c); got != machine {
		t.Error(got)
	}
	if err := os.WriteFile(filepath.Join(dir, "host"), []byte("the-first-name\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if got := keptHost(c); got != "the-first-name" {
		t.Error(got)
	}
	c.Host = "configured"
	if got := keptHost(c); got != "configured" {
		t.Error(got)
	}
	// A folder that cannot be written is no reason not to start.
	c = &setup{Config: Config{DataDir: filepath.Join(dir, "host", "below a file"), Logger: quiet}}
	if got := keptHost(c); got != machine {
		t.Error(got)
	}
}

func TestCreateFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a", "b")
	if err := createFile(path, []byte("one"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := createFile(path, []byte("two"), 0o600); !errors.Is(err, os.ErrExist) {
		t.Error(err)
	}
	if data, _ := os.ReadFile(path); string(data) != "one" {
		t.Errorf("%q", data)
	}
	if entries, _ := os.ReadDir(filepath.Dir(path)); len(entries) != 1 {
		t.Error(entries)
	}
}

func TestGeneratedPasswordFile(t *testing.T) {
	dir := t.TempDir()
	if got := generatedPassword(dir, "/srv/a"); got != "" {
		t.Error(got)
	}
	password, path, err := generatePassword(dir, "../de fault", "/srv/a")
	if err != nil || filepath.Dir(path) != dir || len(password) != 43 {
		t.Fatal(path, err)
	}
	if _, _, err := generatePassword(dir, "../de fault", "/srv/a"); !errors.Is(err, os.ErrExist) {
		t.Error(err)
	}
	if got := generatedPassword(dir, "/srv/a"); got != path {
		t.Error(got)
	}
	if got := generatedPassword(dir, "/srv/b"); got != "" {
		t.Error("the password of another place: ", got)
	}
	if got, err := readPassword(path); err != nil || string(got) != string(password) {
		t.Error(err)
	}
	if err := os.Truncate(path, 0); err != nil {
		t.Fatal(err)
	}
	if _, err := readPassword(path); err == nil || !strings.Contains(err.Error(), "saved copy") {
		t.Error(err)
	}
}

func TestDiagnose(t *testing.T) {
	now := time.Date(2024, 5, 6, 7, 8, 9, 0, time.UTC)
	c := &setup{Config: Config{Repositories: []RepositoryConfig{{Name: "default"}, {Name: "offsite"}}}}
	check := func(repository string, state State, readData bool, ago time.Duration, findings ...Finding) Run {
		return Run{Kind: KindCheck, Repository: repository, State: state, ReadData: readData, Findings: findings,
			Ended: now.Add(-ago), Error: "2 errors"}
	}
	bad := Finding{Error: true, Text: "pack is damaged"}
	const h = time.Hour
	cases := map[string]struct {
		checks []Run // newest first
		want   string
	}{
		"none":                    {nil, ""},
		"found errors":            {[]Run{check("offsite", StateFailed, false, 48*h, bad)}, "2 days ago: 2 errors"},
		"of another":              {[]Run{check("gone", StateFailed, false, 48*h, bad)}, ""},
		"could not be done":       {[]Run{check("offsite", StateFailed, true, h), check("offsite", StateInterrupted, true, h)}, ""},
		"notes only":              {[]Run{check("offsite", StateFailed, true, h, Finding{Text: "orphan"})}, ""},
		"not done, hides nothing": {[]Run{check("offsite", StateFailed, true, h), check("offsite", StateFailed, true, 2*h, bad)}, "2 hours ago: 2 errors"},
		"disproved":               {[]Run{check("offsite", StateOK, false, h), check("offsite", StateFailed, false, 2*h, bad)}, ""},
		"disproved by all data":   {[]Run{check("offsite", StateOK, true, h), check("offsite", StateFailed, true, 2*h, bad)}, ""},
		"not disproved by the structure": {[]Run{check("offsite", StateOK, false, h), check("offsite", StateFailed, true, 2*h, bad),
			check("offsite", StateOK, true, 3*h)}, "2 hours ago: 2 errors"},
		"found again by the structure": {[]Run{check("offsite", StateFailed, false, h, bad), check("offsite", StateFailed, true, 2*h, bad)}, "1 hour ago: 2 errors"},
		"an older one stays": {[]Run{check("offsite", StateOK, false, h), check("offsite", StateFailed, false, 2*h, bad),
			check("offsite", StateFailed, true, 3*h, bad)}, "3 hours ago: 2 errors"},
		"long disproved": {[]Run{check("offsite", StateOK, false, h), check("offsite", StateOK, true, 2*h), check("offsite", StateFailed, true, 3*h, bad)}, ""},
	}
	for name, c2 := range cases {
		var want []string
		if c2.want != "" {
			want = append(want, "repository offsite: the last check failed "+c2.want)
		}
		if got := diagnose(c, c2.checks, now); !slices.Equal(got, want) {
			t.Errorf("%s: %q", name, got)
		}
	}
}

func TestPlainly(t *testing.T) {
	stop := fmt.Errorf("%w by bob", errCancelled)
	for err, want := range map[error]string{
		stop: "cancelled by bob",
		fmt.Errorf("%w: exit status 1: %w", stop, context.Canceled):                           "cancelled by bob: exit status 1",
		fmt.Errorf("%w after 2h: %v", errTimeout, fmt.Errorf("x: context deadline exceeded")): "timed out after 2h: x",
		fmt.Errorf("store data/ab: %w", context.DeadlineExceeded):                             "store data/ab: context deadline exceeded",
	} {
		if got := plainly(err); got != want {
			t.Errorf("%q", got)
		}
	}
	if got := were(1, "error") + ", " + were(int64(2), "error"); got != "1 error was, 2 errors were" {
		t.Error(got)
	}
}

func TestCommand(t *testing.T) {
	for name, want := range map[string]string{"second": "second", "off-site_2.b": "off-site_2.b", "my disk": "'my disk'", "it's": `'it'\''s'`} {
		v := &vault{name: name}
		if got := v.command("init"); got != "caddy backup init --repository "+want {
			t.Error(got)
		}
	}
}

func TestRunIDs(t *testing.T) {
	s := New()
	at := time.Date(2024, 5, 6, 7, 8, 9, 500_000_000, time.UTC)
	first := s.newRunID(at)
	if first != "20240506t070809z-8000" {
		t.Error(first)
	}
	s.active[first] = &runner{}
	second := s.newRunID(at)
	if second != "20240506t070809z-8001" || !(s.newRunID(at.Add(time.Millisecond)) > second) {
		t.Error(second)
	}
}

func TestRunLog(t *testing.T) {
	var lines runLog
	var server strings.Builder
	next := slog.NewTextHandler(&server, &slog.HandlerOptions{Level: slog.LevelWarn})
	log := slog.New(&runHandler{lines: &lines, next: next}).With("part", "db")
	log.Debug("not in the run's log")
	log.Info("dumping", "bytes", 7)
	log.WithGroup("g").Warn("careful", "error", errors.New("full"), "", nil)
	all := lines.all()
	if len(all) != 2 || all[0].Text != "dumping part=db bytes=7" || all[0].Level != "INFO" || !strings.Contains(all[1].Text, "careful part=db error=full") {
		t.Errorf("%+v", all)
	}
	if got := server.String(); !strings.Contains(got, "msg=careful part=db g.error=full") || strings.Contains(got, "dumping") {
		t.Error(got)
	}
	for i := range 2 * logLines {
		log.Info(fmt.Sprint(i))
	}
	log.Info(strings.Repeat("ü", logLength))
	all = lines.all()
	if len(all) != logLines || len(all[logLines-1].Text) > logLength+10 || all[logLines-2].Text != fmt.Sprint(2*logLines-1, " part=db") {
		t.Errorf("%d lines, the last has %d bytes", len(all), len(all[logLines-1].Text))
	}
}

func TestLiveLog(t *testing.T) {
	var a, b strings.Builder
	live := &liveLog{}
	log := live.logger().With("x", 1).WithGroup("g").With("y", 2)
	log.Info("nobody listens")
	live.set(slog.New(slog.NewTextHandler(&a, nil)))
	log.Info("first")
	live.set(slog.New(slog.NewTextHandler(&b, nil)))
	log.Info("second")
	if !strings.Contains(a.String(), "msg=first x=1 g.y=2") || strings.Contains(a.String(), "second") || !strings.Contains(b.String(), "msg=second x=1 g.y=2") {
		t.Errorf("%q %q", a.String(), b.String())
	}
}

func TestBecause(t *testing.T) {
	cause := errors.New("timed out after 2h")
	ctx, cancel := context.WithCancelCause(t.Context())
	plain := errors.New("exit status 1")
	if because(ctx, nil) != nil || because(ctx, plain) != plain {
		t.Error("a cause before there is one")
	}
	cancel(cause)
	for err, want := range map[error]string{
		plain: "timed out after 2h: exit status 1", context.Canceled: "timed out after 2h", cause: "timed out after 2h",
	} {
		if got := because(ctx, err); got.Error() != want || !errors.Is(got, cause) {
			t.Error(got)
		}
	}
}

func TestPage(t *testing.T) {
	all := []int{0, 1, 2, 3, 4}
	for _, c := range []struct{ offset, limit int }{{0, 0}, {0, 2}, {3, 9}, {9, 1}, {-1, 1}} {
		got := page(all, c.offset, c.limit)
		first := min(max(c.offset, 0), 5)
		last := 5
		if c.limit > 0 {
			last = min(first+c.limit, 5)
		}
		if !slices.Equal(got, all[first:last]) {
			t.Errorf("%+v: %v", c, got)
		}
	}
}

func TestRequireSpace(t *testing.T) {
	target := filepath.Join(t.TempDir(), "not", "there", "yet")
	if err := RequireSpace(target, 1); err != nil {
		t.Error(err)
	}
	if _, known := freeSpace(t.TempDir()); !known {
		t.Skip("NOT TESTED: free space is not known on this system")
	}
	if err := RequireSpace(target, 1<<60); err == nil || !strings.Contains(err.Error(), "the restore needs 1.0 EiB") {
		t.Error(err)
	}
}
