package notify_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"io"
	"math/rand/v2"
	"mime"
	"mime/multipart"
	"mime/quotedprintable"
	netmail "net/mail"
	"os/exec"
	"runtime"
	"runtime/debug"
	"strings"
	"testing"
	"time"

	"github.com/emersion/go-smtp"

	"github.com/caddy-backup/caddy-backup/backup"
	"github.com/caddy-backup/caddy-backup/backup/backuptest"
	"github.com/caddy-backup/caddy-backup/internal/realtest"
	"github.com/caddy-backup/caddy-backup/notify"
)

// opened is a mail as a person sees it.
type opened struct {
	subject, text string
	to            string
	files         map[string][]byte // attachments, by name
}

func openMail(t *testing.T, l letter) opened {
	t.Helper()
	m, err := netmail.ReadMessage(bytes.NewReader(l.data))
	if err != nil {
		t.Fatal(err)
	}
	subject, err := new(mime.WordDecoder).DecodeHeader(m.Header.Get("Subject"))
	if err != nil {
		t.Fatal(err)
	}
	o := opened{subject: subject, to: strings.Join(l.to, " "), files: map[string][]byte{}}
	kind, params, err := mime.ParseMediaType(m.Header.Get("Content-Type"))
	if err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(kind, "multipart/") {
		o.text = readText(t, quotedprintable.NewReader(m.Body))
		return o
	}
	parts := multipart.NewReader(m.Body, params["boundary"])
	for {
		p, err := parts.NextPart()
		if err == io.EOF {
			return o
		}
		if err != nil {
			t.Fatal(err)
		}
		if p.FileName() == "" {
			o.text = readText(t, p)
			continue
		}
		data, err := io.ReadAll(base64.NewDecoder(base64.StdEncoding, p))
		if err != nil {
			t.Fatal(err)
		}
		o.files[p.FileName()] = data
	}
}

func readText(t *testing.T, r io.Reader) string {
	t.Helper()
	text, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	return strings.ReplaceAll(string(text), "\r\n", "\n")
}

// roomy lets the server take mails of any length.
func roomy(s *smtp.Server) { s.MaxLineLength, s.AllowInsecureAuth = 4000, true }

// mailed is a Service whose job "shop", with the file db.sql and the folder media, tells a mail server of its successes.
func mailed(t *testing.T, p *post, change func(*notify.Email), more ...func(*backup.Config)) *backuptest.Env {
	t.Helper()
	t.Setenv("SMTP_PASSWORD", canary)
	e := mailTo(p, "off")
	change(e)
	return backuptest.New(t, append(more, func(c *backup.Config) {
		c.Jobs[0].Sources = append(c.Jobs[0].Sources, backup.NamedSource{Name: "media", Kind: "files", Source: backuptest.Folder{"a/b.txt": "in a folder"}})
		c.Notifiers = append(c.Notifiers, backup.NamedNotifier{Name: "ops", Kind: "email", Notifier: provision(t, e)})
		c.Jobs[0].Notify = []backup.Subscription{{Notifiers: []string{"ops"}, On: []backup.Event{backup.EventSuccess}}}
	})...)
}

// arrived waits for the n-th mail, from 1.
func (p *post) arrived(t *testing.T, n int) opened {
	t.Helper()
	for range 6000 {
		p.mu.Lock()
		there := len(p.mails)
		p.mu.Unlock()
		if there >= n {
			return openMail(t, p.mails[n-1])
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Fatalf("mail %d did not arrive", n)
	return opened{}
}

// noise is n bytes that no program packs.
func noise(n int) string {
	b := make([]byte, n)
	_, _ = rand.NewChaCha8([32]byte{7}).Read(b)
	return string(b)
}

// TestAttach: what is attached unpacks to what the manifest says was dumped, in every form.
func TestAttach(t *testing.T) {
	data := strings.Repeat("insert into customer;\n", 5000) + noise(300_000)
	for format, program := range map[string]string{"": "cat", "none": "cat", "gz": "gzip -dc", "bz2": "bzip2 -dc", "zst": "zstd -dc"} {
		t.Run("format "+format, func(t *testing.T) {
			p := newPost(t, false, roomy)
			env := mailed(t, p, func(e *notify.Email) { e.AttachUpTo = 10 << 20 }, func(c *backup.Config) {
				c.Jobs[0].DownloadFormat, c.Jobs[0].MailTo, c.PublicURL = format, []string{"alice@example.com"}, "https://backups.example.com"
			})
			env.DB.Set(data)
			snap := env.Backed(t, "shop")
			got := p.arrived(t, 1)
			at := "shop_" + snap.Time.UTC().Format("2006-01-02_15-04-05") + "Z."
			name := at + "db.sql"
			if format != "" && format != "none" {
				name += "." + format
			}
			args := strings.Fields(program)
			cmd := exec.Command(realtest.Need(t, args[0]), args[1:]...)
			cmd.Stdin = bytes.NewReader(got.files[name])
			plain, err := cmd.Output()
			sum := sha256.Sum256(plain)
			if err != nil || hex.EncodeToString(sum[:]) != snap.Manifest.Parts[0].SHA256 || string(plain) != data {
				t.Errorf("%s: %d bytes, %v", name, len(plain), err)
			}
			tar := exec.Command(realtest.Need(t, "tar"), "-xzO")
			tar.Stdin = bytes.NewReader(got.files[at+"media.tar.gz"])
			if out, err := tar.Output(); err != nil || string(out) != "in a folder" {
				t.Errorf("the folder: %v %q", err, out)
			}
			if len(got.files) != 2 || got.to != "a@example.com b@example.com alice@example.com" || strings.Contains(got.text, "/links/") ||
				!strings.Contains(got.text, "\nAttached:\n  "+name+", ") || !strings.Contains(got.text, snap.Manifest.Parts[0].SHA256) {
				t.Errorf("%d files, to %s:\n%s", len(got.files), got.to, got.text)
			}
		})
	}
}

// capture keeps the last notification.
type capture chan backup.Notification

func (c capture) Deliver(_ context.Context, n backup.Notification) error { c <- n; return nil }

// backedUp is the notification of a good backup of data, and of a folder.
func backedUp(t *testing.T, change func(*backup.Config), dump backuptest.DumpFunc) backup.Notification {
	t.Helper()
	_, n := backedUpIn(t, change, dump)
	return n
}

// backedUpIn is backedUp with where it lies.
func backedUpIn(t *testing.T, change func(*backup.Config), dump backuptest.DumpFunc) (*backuptest.Env, backup.Notification) {
	t.Helper()
	c := make(capture, 1)
	env := backuptest.New(t, change, func(x *backup.Config) {
		x.Jobs[0].Sources = append(x.Jobs[0].Sources, backup.NamedSource{Name: "media", Kind: "files", Source: backuptest.Folder{"a/b.txt": "in a folder"}})
		x.Notifiers = []backup.NamedNotifier{{Name: "ops", Notifier: c}}
		x.Jobs[0].Notify = []backup.Subscription{{Notifiers: []string{"ops"}, On: []backup.Event{backup.EventSuccess}}}
	})
	env.DB.Do(dump)
	env.Backed(t, "shop")
	return env, <-c
}

// dumping is a dump of data.
func dumping(data string) backuptest.DumpFunc {
	return func(_ context.Context, w io.Writer, _ *backup.Task) error {
		_, err := io.WriteString(w, data)
		return err
	}
}

// TestAttachUpTo: the limit is what all files take in the mail, to the byte; beyond it there are links, else the facts alone.
func TestAttachUpTo(t *testing.T) {
	t.Setenv("SMTP_PASSWORD", canary)
	const public = "https://backups.example.com/"
	told := map[string]backup.Notification{}
	for _, address := range []string{public, ""} {
		told[address] = backedUp(t, func(c *backup.Config) { c.PublicURL = address }, dumping(noise(100_000)))
	}
	p := newPost(t, false, roomy)
	mailWith := func(limit int64, public string) opened {
		t.Helper()
		e := mailTo(p, "off")
		e.AttachUpTo = limit
		if err := provision(t, e).Deliver(t.Context(), told[public]); err != nil {
			t.Fatal(err)
		}
		return openMail(t, p.mails[len(p.mails)-1])
	}
	exact := map[string]int64{}
	for address := range told {
		if whole := mailWith(1<<20, address); len(whole.files) != 2 {
			t.Fatalf("%d files:\n%s", len(whole.files), whole.text)
		}
		for _, part := range bytes.Split(p.mails[len(p.mails)-1].data, []byte("Content-Transfer-Encoding: base64\r\n"))[1:] {
			_, body, _ := bytes.Cut(part, []byte("\r\n\r\n"))
			body, _, _ = bytes.Cut(body, []byte("\r\n--"))
			exact[address] += int64(len(bytes.TrimSpace(body))) + 2
		}
	}
	for _, c := range []struct {
		limit  int64
		public string
		files  int
		text   string
		links  int
	}{
		{exact[public], public, 2, "Attached:", 0},
		{exact[public] - 1, public, 0, "Not attached: it is larger than", 2},
		{exact[""] - 1, "", 0, "Not attached: it is larger than", 0},
		{1, public, 0, "Not attached: it is larger than", 2},
		{0, public, 0, "Download, until", 2},
		{0, "", 0, "", 0},
	} {
		got := mailWith(c.limit, c.public)
		if len(got.files) != c.files || !strings.Contains(got.text, c.text) || strings.Count(got.text, public+"links/") != c.links {
			t.Errorf("up to %d of %d, %q: %d files\n%s", c.limit, exact[c.public], c.public, len(got.files), got.text)
		}
		if c.limit == 0 && strings.Contains(got.text, "ttached") {
			t.Errorf("nobody asked for it:\n%s", got.text)
		}
	}
}

// TestLargeDumpIsNotHeld: of a dump that is too large no more is kept than what would have fitted.
func TestLargeDumpIsNotHeld(t *testing.T) {
	size := 100 << 20
	if realtest.Soak() {
		size = 200 << 20
	}
	n := backedUp(t, func(c *backup.Config) { c.Jobs[0].DownloadFormat = "gz" }, func(_ context.Context, w io.Writer, _ *backup.Task) error {
		_, err := io.CopyN(w, rand.NewChaCha8([32]byte{1}), int64(size))
		return err
	})
	defer debug.SetGCPercent(debug.SetGCPercent(5)) // what is garbage does not count
	var before runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	most := make(chan uint64)
	done := make(chan struct{})
	go func() {
		var now runtime.MemStats
		peak := uint64(0)
		for {
			runtime.ReadMemStats(&now)
			peak = max(peak, now.HeapInuse)
			select {
			case <-done:
				most <- peak
				return
			case <-time.After(5 * time.Millisecond):
			}
		}
	}()
	e := provision(t, &notify.Email{SMTP: "localhost:25", From: "a@example.com", To: []string{"b@example.com"}, AttachUpTo: 10 << 20})
	got := e.Enclose(t.Context(), n)
	close(done)
	if peak := <-most; peak > before.HeapInuse+72<<20 {
		t.Errorf("the heap grew by %d MiB", (peak-before.HeapInuse)>>20)
	}
	if len(got.Attached) != 0 || got.NotAttached != "it is larger than 10 MiB in the mail" {
		t.Errorf("%+v", got)
	}
}

// TestAttachDamaged: what cannot be read is not attached, nor is a part of it, and the news is told all the same.
func TestAttachDamaged(t *testing.T) {
	t.Setenv("SMTP_PASSWORD", canary)
	env, n := backedUpIn(t, func(*backup.Config) {}, dumping(noise(300_000)))
	for f, err := range env.Storage.List(t.Context(), "data") {
		if err != nil {
			t.Fatal(err)
		}
		if f.Size < 300_000 {
			continue
		}
		pack, err := env.Storage.Get(t.Context(), f.Name, 0, -1)
		if err != nil {
			t.Fatal(err)
		}
		pack = bytes.Clone(pack)
		pack[len(pack)/2] ^= 1
		if err := env.Storage.Put(t.Context(), f.Name, pack); err != nil {
			t.Fatal(err)
		}
	}
	p := newPost(t, false, roomy)
	e := mailTo(p, "off")
	e.AttachUpTo = 10 << 20
	if err := provision(t, e).Deliver(t.Context(), n); err != nil {
		t.Fatal(err)
	}
	if got := openMail(t, p.mails[0]); len(got.files) != 0 || !strings.Contains(got.text, "is done.") || !strings.Contains(got.text, "Not attached: db.sql: ") {
		t.Errorf("%d files:\n%s", len(got.files), got.text)
	}
}

// TestAttachToServerThatStalls: an attempt ends with its time in the middle of a mail, of which nothing is kept; the next one
// reads the dump anew.
func TestAttachToServerThatStalls(t *testing.T) {
	t.Setenv("SMTP_PASSWORD", canary)
	data := noise(6 << 20)
	n := backedUp(t, func(*backup.Config) {}, dumping(data))
	p := newPost(t, false, roomy)
	p.stall = make(chan struct{})
	e := mailTo(p, "off")
	e.AttachUpTo = 20 << 20
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	start := time.Now()
	if err := provision(t, e).Deliver(ctx, n); err == nil || time.Since(start) > 20*time.Second {
		t.Errorf("after %v: %v", time.Since(start), err)
	}
	close(p.stall)
	if err := provision(t, e).Deliver(t.Context(), n); err != nil {
		t.Fatal(err)
	}
	if len(p.mails) != 1 {
		t.Fatalf("%d mails", len(p.mails))
	}
	for name, file := range openMail(t, p.mails[0]).files {
		if strings.HasSuffix(name, "db.sql") && string(file) != data {
			t.Errorf("%s: %d bytes", name, len(file))
		}
	}
}
