package notify

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	netmail "net/mail"
	"os"
	"strconv"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/dustin/go-humanize"
	"github.com/wneessen/go-mail"

	"github.com/caddy-backup/caddy-backup/backup"
	"github.com/caddy-backup/caddy-backup/internal/setting"
)

func init() { caddy.RegisterModule(new(Email)) }

// Email sends notifications as mails of plain text. A mail about a snapshot has links to what was dumped, where public_url
// is known; or, with attach_up_to, the dump itself.
type Email struct {
	// The mail server, as host:port. Placeholders are replaced here and below.
	SMTP string `json:"smtp,omitempty"`
	// How the connection is encrypted: "starttls", "implicit" (from the first byte on), or "off", which is for servers on this
	// machine only. Default: "off" for those, "implicit" at port 465, else "starttls". The certificate is verified.
	TLS string `json:"tls,omitempty"`
	// A PEM file with certificates that the server's is verified by. Default: those that the system trusts.
	CAFile string `json:"ca_file,omitempty"`
	// Who we are to the server. Default: nobody.
	Username string `json:"username,omitempty"`
	Password string `json:"password,omitempty"`
	// The sender's address.
	From string `json:"from,omitempty"`
	// Who gets the mails, at least one.
	To []string `json:"to,omitempty"`
	// Dumps are attached, in the job's download_format, when all of a snapshot takes at most so many bytes in the mail. A
	// mail is not encrypted on its way through servers, nor where it is kept. At most 64 MiB. Default: nothing is attached.
	AttachUpTo int64 `json:"attach_up_to,omitempty"`
	// The subject, as a template of Go's text/template over the fields of the notification. Default: "{{.Title}}".
	Subject string `json:"subject,omitempty"`
	// A file with the template of the text. Default: as "{{.Text}}{{with .Enclosed}}\n{{.}}{{end}}".
	Template string `json:"template,omitempty"`

	subject, text      *wording
	from, host         string // resolved
	to                 []string
	username, password string // secret
	options            []mail.Option
	trust              *tls.Config
	implicit           bool
}

// CaddyModule tells Caddy about the notifier.
func (*Email) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: namespace + "email", New: func() caddy.Module { return new(Email) }}
}

// UnmarshalCaddyfile reads
//
//	email {
//		smtp <host:port>
//		tls starttls|implicit|off
//		ca_file <file>
//		username <name>
//		password <password>
//		from <address>
//		to <address...>
//		attach_up_to <size>
//		subject <template>
//		template <file>
//	}
func (e *Email) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // the module's name
	if d.NextArg() {
		return d.ArgErr()
	}
	words := map[string]*string{"smtp": &e.SMTP, "tls": &e.TLS, "ca_file": &e.CAFile, "username": &e.Username,
		"password": &e.Password, "from": &e.From, "subject": &e.Subject, "template": &e.Template}
	for d.NextBlock(0) {
		word := d.Val()
		if to, known := words[word]; known {
			if err := setting.OneArg(d, to); err != nil {
				return err
			}
			continue
		}
		switch word {
		case "to":
		case "attach_up_to":
			if err := e.unmarshalAttach(d); err != nil {
				return err
			}
			continue
		default:
			return d.Errf("unrecognized subdirective '%s'", word)
		}
		args := d.RemainingArgs()
		if len(args) == 0 {
			return d.ArgErr()
		}
		e.To = append(e.To, args...)
	}
	switch {
	case e.SMTP == "":
		return d.Err("email is missing its smtp")
	case e.From == "":
		return d.Err("email is missing its from")
	case len(e.To) == 0:
		return d.Err("email is missing its to")
	}
	return nil
}

func (e *Email) unmarshalAttach(d *caddyfile.Dispenser) error {
	if e.AttachUpTo != 0 {
		return d.Err("attach_up_to already specified")
	}
	var text string
	if !d.AllArgs(&text) {
		return d.ArgErr()
	}
	size, err := humanize.ParseBytes(text)
	if err != nil {
		return d.Errf("bad attach_up_to value '%s': %v", text, err)
	}
	if size == 0 || size > maxAttach {
		return d.Errf("bad attach_up_to value '%s': %v", text, errAttachSize)
	}
	e.AttachUpTo = int64(size)
	return nil
}

var errAttachSize = errors.New("must be a size up to 64MiB, such as 10MiB")

// Provision replaces the placeholders and checks what is there.
func (e *Email) Provision(caddy.Context) error {
	if e.AttachUpTo < 0 || e.AttachUpTo > maxAttach {
		return fmt.Errorf("bad attach_up_to value '%d': %w", e.AttachUpTo, errAttachSize)
	}
	var err error
	if e.subject, err = parseWording("subject", e.Subject, nil); err != nil {
		return err
	}
	if e.text, err = readWording(e.Template, nil); err != nil {
		return err
	}
	for _, s := range []struct {
		name, value string
		to          *string
	}{{"username", e.Username, &e.username}, {"password", e.Password, &e.password}, {"from", e.From, &e.from}} {
		var err error
		if *s.to, err = setting.Resolve(s.name, s.value); err != nil {
			return err
		}
	}
	if (e.username == "") != (e.password == "") {
		return errors.New("username and password belong together: write both, or none")
	}
	if _, err := netmail.ParseAddress(e.from); err != nil {
		return fmt.Errorf("bad from value '%s': must be a mail address", e.from)
	}
	if len(e.To) == 0 {
		return errors.New("nobody gets the mails: say who with to")
	}
	e.to = nil
	for _, text := range e.To {
		to, err := setting.Resolve("to", text)
		if err != nil {
			return err
		}
		if _, err := netmail.ParseAddress(to); err != nil {
			return fmt.Errorf("bad to value '%s': must be a mail address", to)
		}
		e.to = append(e.to, to)
	}
	return e.provisionServer()
}

// provisionServer decides how to talk to the server: what would carry mails, or a password, over a network in plain, is
// refused.
func (e *Email) provisionServer() error {
	at, err := setting.Resolve("smtp", e.SMTP)
	if err != nil {
		return err
	}
	host, portText, err := net.SplitHostPort(at)
	port, portErr := strconv.Atoi(portText)
	if err != nil || portErr != nil || host == "" || port < 1 || port > 65535 {
		return fmt.Errorf("bad smtp value '%s': must be host and port, such as smtp.example.com:587", at)
	}
	e.host = host
	e.trust = &tls.Config{ServerName: host, MinVersion: tls.VersionTLS12}
	if e.trust.RootCAs, err = e.roots(); err != nil {
		return err
	}
	e.options = []mail.Option{mail.WithPort(port), mail.WithTimeout(patience), mail.WithTLSConfig(e.trust)}
	// Over an encrypted connection a plain password is as good as any; not every server can do more.
	auth := []mail.SMTPAuthType{mail.SMTPAuthPlain, mail.SMTPAuthLogin, mail.SMTPAuthSCRAMSHA256, mail.SMTPAuthCramMD5}
	switch mode := e.mode(port); {
	case mode == "implicit":
		e.implicit = true
		e.options = append(e.options, mail.WithSSL())
	case mode == "starttls":
		e.options = append(e.options, mail.WithTLSPolicy(mail.TLSMandatory))
	case mode == "off" && onThisMachine(host):
		e.options = append(e.options, mail.WithTLSPolicy(mail.NoTLS))
		auth = []mail.SMTPAuthType{mail.SMTPAuthPlainNoEnc, mail.SMTPAuthLoginNoEnc}
	case mode == "off":
		return fmt.Errorf("tls off would send mails to %s for everybody to read: that is for servers on this machine only", host)
	default:
		return fmt.Errorf("bad tls value '%s': must be starttls, implicit or off", mode)
	}
	if e.username != "" {
		e.options = append(e.options, mail.WithOpportunisticSMTPAuth(auth...), mail.WithUsername(e.username), mail.WithPassword(e.password))
	}
	return nil
}

func (e *Email) mode(port int) string {
	switch {
	case e.TLS != "":
		return e.TLS
	case onThisMachine(e.host):
		return "off"
	case port == 465:
		return "implicit"
	}
	return "starttls"
}

func onThisMachine(host string) bool {
	ip := net.ParseIP(host)
	return strings.EqualFold(host, "localhost") || ip != nil && ip.IsLoopback()
}

// roots are the certificates of the file; nil is the system's.
func (e *Email) roots() (*x509.CertPool, error) {
	if e.CAFile == "" {
		return nil, nil
	}
	path, err := setting.Resolve("ca_file", e.CAFile)
	if err != nil {
		return nil, err
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("ca_file: %w", err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(data) {
		return nil, fmt.Errorf("ca_file %s holds no certificate in PEM", path)
	}
	return pool, nil
}

// Interface guards
var (
	_ backup.Mailer         = (*Email)(nil)
	_ caddy.Provisioner     = (*Email)(nil)
	_ caddyfile.Unmarshaler = (*Email)(nil)
)
