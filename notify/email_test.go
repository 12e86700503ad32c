package notify_test

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"io"
	"log"
	"math/big"
	"mime"
	"mime/quotedprintable"
	"net"
	netmail "net/mail"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/emersion/go-sasl"
	"github.com/emersion/go-smtp"

	"github.com/caddy-backup/caddy-backup/notify"
)

// post is a real mail server that keeps what it takes.
type post struct {
	address string
	caFile  string
	refuse  error         // what it says to each mail
	strange error         // what it says to each recipient
	stall   chan struct{} // if set, nothing more is read of a mail until it is closed

	mu    sync.Mutex
	mails []letter
}

type letter struct {
	user      string
	encrypted bool
	from      string
	to        []string
	data      []byte
}

// newPost starts a server that offers STARTTLS, or speaks TLS from the first byte on.
func newPost(t *testing.T, implicit bool, change ...func(*smtp.Server)) *post {
	t.Helper()
	p := &post{}
	s := smtp.NewServer(smtp.BackendFunc(func(c *smtp.Conn) (smtp.Session, error) {
		return &session{post: p, conn: c}, nil
	}))
	s.Domain, s.ErrorLog = "localhost", log.New(io.Discard, "", 0)
	var cert tls.Certificate
	cert, p.caFile = certificate(t)
	s.TLSConfig = &tls.Config{Certificates: []tls.Certificate{cert}}
	for _, f := range change {
		f(s)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p.address = l.Addr().String()
	if implicit {
		l = tls.NewListener(l, s.TLSConfig)
	}
	served := make(chan struct{})
	go func() { defer close(served); s.Serve(l) }()
	t.Cleanup(func() { s.Close(); l.Close(); <-served }) // it may not have begun to serve yet
	return p
}

// certificate makes one for 127.0.0.1, and the file that it is verified by.
func certificate(t *testing.T) (tls.Certificate, string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, file
}

type session struct {
	post *post
	conn *smtp.Conn
	letter
}

func (s *session) Reset()        {}
func (s *session) Logout() error { return nil }

func (s *session) AuthMechanisms() []string { return []string{sasl.Plain} }

func (s *session) Auth(string) (sasl.Server, error) {
	return sasl.NewPlainServer(func(_, user, password string) error {
		if user != "ops" || password != canary {
			return errors.New("not you, " + user + " with " + password)
		}
		s.user = user
		return nil
	}), nil
}

func (s *session) Mail(from string, _ *smtp.MailOptions) error { s.from = from; return nil }

func (s *session) Rcpt(to string, _ *smtp.RcptOptions) error {
	s.to = append(s.to, to)
	return s.post.strange
}

func (s *session) Data(r io.Reader) error {
	if s.post.stall != nil {
		<-s.post.stall
	}
	var err error
	if s.data, err = io.ReadAll(r); err != nil {
		return err
	}
	_, s.encrypted = s.conn.TLSConnectionState()
	s.post.mu.Lock()
	defer s.post.mu.Unlock()
	if s.post.refuse != nil {
		return s.post.refuse
	}
	s.post.mails = append(s.post.mails, s.letter)
	return nil
}

// mailTo is a notifier that uses the server.
func mailTo(p *post, mode string) *notify.Email {
	return &notify.Email{SMTP: p.address, TLS: mode, CAFile: p.caFile, Username: "ops", Password: "{env.SMTP_PASSWORD}",
		From: "Backups <backup@example.com>", To: []string{"a@example.com", "Bärbel <b@example.com>"}}
}

// TestEmail: encrypted in both ways and plain on this machine, with a password, to all who are named; what arrives says what
// was to be told.
func TestEmail(t *testing.T) {
	t.Setenv("SMTP_PASSWORD", canary)
	n := failed
	n.Title, n.Text = "backup of bücher FAILED", "The backup of bücher FAILED.\n\nReason: "+strings.Repeat("a long reason ", 20)+"\n"
	for _, mode := range []string{"starttls", "implicit", "off", ""} {
		t.Run("tls "+mode, func(t *testing.T) {
			p := newPost(t, mode == "implicit", func(s *smtp.Server) { s.AllowInsecureAuth = mode == "off" || mode == "" })
			if err := provision(t, mailTo(p, mode)).Deliver(t.Context(), n); err != nil {
				t.Fatal(err)
			}
			if len(p.mails) != 1 {
				t.Fatalf("%d mails", len(p.mails))
			}
			got := p.mails[0]
			if got.encrypted != (mode == "starttls" || mode == "implicit") || got.user != "ops" || got.from != "backup@example.com" ||
				!slices.Equal(got.to, []string{"a@example.com", "b@example.com"}) {
				t.Errorf("%+v", got)
			}
			m, err := netmail.ReadMessage(bytes.NewReader(got.data))
			if err != nil {
				t.Fatal(err)
			}
			subject, err := new(mime.WordDecoder).DecodeHeader(m.Header.Get("Subject"))
			if err != nil || subject != n.Title {
				t.Errorf("subject %q, %v", subject, err)
			}
			text, err := io.ReadAll(quotedprintable.NewReader(m.Body))
			if err != nil || strings.ReplaceAll(string(text), "\r\n", "\n") != n.Text {
				t.Errorf("%v, text:\n%s", err, text)
			}
			if id := m.Header.Get("Message-ID"); id != "<run-1-failure@example.com>" || m.Header.Get("Auto-Submitted") != "auto-generated" {
				t.Errorf("message ID %s", id)
			}
			if bytes.Contains(got.data, []byte(canary)) {
				t.Error("the password is in the mail")
			}
		})
	}
}

// TestEmailRefused: what goes wrong is an error without the password, and no mail goes out in plain.
func TestEmailRefused(t *testing.T) {
	t.Setenv("SMTP_PASSWORD", canary)
	t.Setenv("SMTP_WRONG", canary+"-wrong")
	none, other := newPost(t, false, func(s *smtp.Server) { s.TLSConfig = nil }), newPost(t, false)
	full := newPost(t, false)
	full.refuse = &smtp.SMTPError{Code: 452, EnhancedCode: smtp.EnhancedCode{4, 2, 2}, Message: "the mailbox is full"}
	wrong := mailTo(other, "starttls")
	wrong.Password = "{env.SMTP_WRONG}"
	untrusted := mailTo(other, "starttls")
	untrusted.CAFile = none.caFile
	for _, c := range []struct {
		name string
		n    *notify.Email
		want string
	}{
		{"no STARTTLS", mailTo(none, "starttls"), "STARTTLS"},
		{"certificate of another", untrusted, "certificate"},
		{"wrong password", wrong, "not you"},
		{"mailbox full", mailTo(full, "starttls"), "the mailbox is full"},
	} {
		t.Run(c.name, func(t *testing.T) {
			err := provision(t, c.n).Deliver(t.Context(), failed)
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Fatalf("got %v, want %s", err, c.want)
			}
			if strings.Contains(err.Error(), canary) {
				t.Errorf("the error shows the password: %v", err)
			}
		})
	}
	if len(none.mails)+len(other.mails)+len(full.mails) > 0 {
		t.Error("a mail was taken")
	}
}

// TestEmailDeadAndSlow: nobody listens, nobody says a word, or nonsense.
func TestEmailDeadAndSlow(t *testing.T) {
	t.Setenv("SMTP_PASSWORD", canary)
	for _, c := range []struct{ name, greeting string }{{"silent", ""}, {"nonsense", "HTTP/1.1 400 Bad Request\r\n\r\n"}, {"dead", "-"}} {
		t.Run(c.name, func(t *testing.T) {
			l, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			done := make(chan struct{})
			go func() {
				defer close(done)
				for {
					conn, err := l.Accept()
					if err != nil {
						return
					}
					io.WriteString(conn, c.greeting)
					defer conn.Close()
				}
			}()
			if c.greeting == "-" {
				l.Close()
			}
			_, ca := certificate(t)
			e := provision(t, mailTo(&post{address: l.Addr().String(), caFile: ca}, "starttls"))
			ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
			defer cancel()
			start := time.Now()
			if err := e.Deliver(ctx, failed); err == nil || strings.Contains(err.Error(), canary) {
				t.Errorf("got %v", err)
			}
			if took := time.Since(start); took > 20*time.Second {
				t.Errorf("it took %v", took)
			}
			l.Close()
			<-done
		})
	}
}

// TestEmailConfig: what would fail each night is refused at once.
func TestEmailConfig(t *testing.T) {
	t.Setenv("SMTP_UNSET", "")
	good := notify.Email{SMTP: "smtp.example.com:587", From: "a@example.com", To: []string{"b@example.com"}}
	for _, c := range []struct {
		change func(*notify.Email)
		want   string
	}{
		{func(*notify.Email) {}, ""},
		{func(e *notify.Email) { e.SMTP = "localhost:25" }, ""},
		{func(e *notify.Email) { e.SMTP = "smtp.example.com" }, "must be host and port"},
		{func(e *notify.Email) { e.SMTP = "smtp.example.com:mail" }, "must be host and port"},
		{func(e *notify.Email) { e.TLS = "off" }, "for everybody to read"},
		{func(e *notify.Email) { e.TLS = "maybe" }, "must be starttls, implicit or off"},
		{func(e *notify.Email) { e.Username = "ops" }, "belong together"},
		{func(e *notify.Email) { e.Password = "{env.SMTP_UNSET}" }, "is empty; set the variable"},
		{func(e *notify.Email) { e.From = "somebody" }, "bad from value"},
		{func(e *notify.Email) { e.To = nil }, "nobody gets the mails"},
		{func(e *notify.Email) { e.To = []string{"x"} }, "bad to value"},
		{func(e *notify.Email) { e.CAFile = "/nowhere/ca.pem" }, "ca_file: open /nowhere/ca.pem"},
	} {
		e := good
		c.change(&e)
		err := e.Provision(caddy.Context{})
		if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("got %v, want %q", err, c.want)
		}
	}
}
