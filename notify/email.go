package notify

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"net"
	netmail "net/mail"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/wneessen/go-mail"

	"github.com/caddy-backup/caddy-backup/backup"
)

func init() { caddy.RegisterModule(new(Email)) }

// Email sends notifications as mails of plain text, with the facts and no attachment.
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
//	}
func (e *Email) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // the module's name
	if d.NextArg() {
		return d.ArgErr()
	}
	words := map[string]*string{"smtp": &e.SMTP, "tls": &e.TLS, "ca_file": &e.CAFile, "username": &e.Username,
		"password": &e.Password, "from": &e.From}
	for d.NextBlock(0) {
		word := d.Val()
		if to, known := words[word]; known {
			if err := oneArg(d, to); err != nil {
				return err
			}
			continue
		}
		switch word {
		case "to":
		case "attach_up_to":
			return d.Errf("'%s' is not supported yet", word)
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

// Provision replaces the placeholders and checks what is there.
func (e *Email) Provision(caddy.Context) error {
	for _, s := range []struct {
		name, value string
		to          *string
	}{{"username", e.Username, &e.username}, {"password", e.Password, &e.password}, {"from", e.From, &e.from}} {
		var err error
		if *s.to, err = resolve(s.name, s.value); err != nil {
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
		to, err := resolve("to", text)
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
	at, err := resolve("smtp", e.SMTP)
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
	path, err := resolve("ca_file", e.CAFile)
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

// Deliver implements backup.Notifier.
func (e *Email) Deliver(ctx context.Context, n backup.Notification) error {
	m, err := e.message(n)
	if err != nil {
		return err
	}
	client, err := mail.NewClient(e.host, append(slices.Clip(e.options), mail.WithDialContextFunc(e.dialUntil(ctx)))...)
	if err != nil {
		return e.hide(err)
	}
	conn, err := client.DialToSMTPClientWithContext(ctx)
	if err != nil {
		return e.hide(err)
	}
	err = client.SendWithSMTPClient(conn, m)
	// How the connection ends says nothing about the mail: one that was taken is not sent again.
	_ = client.CloseWithSMTPClient(conn)
	if m.IsDelivered() {
		return nil
	}
	if err == nil {
		err = errors.New("the mail was not taken")
	}
	return e.hide(err)
}

// dialUntil makes connections that end with ctx: the library looks at it while it connects only.
func (e *Email) dialUntil(ctx context.Context) mail.DialContextFunc {
	return func(dialing context.Context, network, address string) (net.Conn, error) {
		conn, err := new(net.Dialer).DialContext(dialing, network, address)
		if err != nil {
			return nil, err
		}
		context.AfterFunc(ctx, func() { conn.Close() })
		if e.implicit {
			return tls.Client(conn, e.trust), nil
		}
		return conn, nil
	}
}

func (e *Email) message(n backup.Notification) (*mail.Msg, error) {
	m := mail.NewMsg()
	if err := m.From(e.from); err != nil {
		return nil, err
	}
	if err := m.To(e.to...); err != nil {
		return nil, err
	}
	from, err := netmail.ParseAddress(e.from)
	if err != nil {
		return nil, err
	}
	_, domain, _ := strings.Cut(from.Address, "@")
	m.SetMessageIDWithValue(n.Run + "-" + string(n.Event) + "@" + domain) // the same in all attempts
	m.SetDate()
	m.Subject(n.Title)
	m.SetGenHeader("Auto-Submitted", "auto-generated")
	m.SetUserAgent("caddy-backup")
	m.SetBodyString(mail.TypeTextPlain, n.Text)
	return m, nil
}

// hide takes the password out of an error: a server may repeat what it was sent.
func (e *Email) hide(err error) error {
	text := fmt.Sprintf("%s: %v", e.host, err)
	if e.password != "" {
		for _, secret := range []string{e.password, base64.StdEncoding.EncodeToString([]byte(e.password)),
			base64.StdEncoding.EncodeToString([]byte("\x00" + e.username + "\x00" + e.password))} {
			text = strings.ReplaceAll(text, secret, "…")
		}
	}
	return errors.New(text)
}

// Interface guards
var (
	_ backup.Notifier       = (*Email)(nil)
	_ caddy.Provisioner     = (*Email)(nil)
	_ caddyfile.Unmarshaler = (*Email)(nil)
)
