package notify

import (
	"context"
	"errors"
	"fmt"
	netmail "net/mail"
	"net/textproto"

	"github.com/wneessen/go-mail/smtp"

	"github.com/caddy-backup/caddy-backup/backup"
)

// Examine goes as far as a mail does before its text: connection, encryption, login, sender, recipients. Then it is called off.
func (e *Email) Examine(ctx context.Context, _ *backup.Task) []backup.Diagnosis {
	client, conn, err := e.connect(ctx, patience)
	if err != nil {
		return e.wrong(ctx, err)
	}
	defer func() { _ = client.CloseWithSMTPClient(conn) }()
	list, err := e.envelope(conn)
	if err != nil {
		return e.wrong(ctx, err)
	}
	how := "without TLS"
	if _, encrypted := conn.TLSConnectionState(); encrypted {
		how = "by TLS"
	}
	if e.username != "" {
		how += ", login works"
	}
	return append(diagnosis(backup.LevelOK, "%s takes mails from us, %s", e.host, how), list...)
}

// envelope says from whom and to whom a mail would be, and takes it back. A recipient who is refused for now only is a
// warning: servers do that with strangers, and take the next attempt.
func (e *Email) envelope(conn *smtp.Client) (list []backup.Diagnosis, err error) {
	from, err := netmail.ParseAddress(e.from)
	if err != nil {
		return nil, err
	}
	if err := conn.Mail(from.Address); err != nil {
		return nil, fmt.Errorf("no mails are taken from %s: %w", from.Address, err)
	}
	for _, text := range e.to {
		to, err := netmail.ParseAddress(text)
		if err != nil {
			return nil, err
		}
		err = conn.Rcpt(to.Address)
		level := backup.LevelError
		if answer, ok := errors.AsType[*textproto.Error](err); ok && answer.Code < 500 {
			level = backup.LevelWarning
		}
		if err != nil {
			list = append(list, diagnosis(level, "no mails are taken to %s: %v%s", to.Address, e.hide(err), wayOut(err, mailHints))...)
		}
	}
	return list, conn.Reset()
}

func (e *Email) wrong(ctx context.Context, err error) []backup.Diagnosis {
	if ctx.Err() != nil { // the connection was closed under the library, which says no more than that
		err = ctx.Err()
	}
	return diagnosis(backup.LevelError, "%v%s", e.hide(err), wayOut(err, mailHints))
}

var mailHints = []hint{
	{"connection refused", "nobody listens there: is the mail server up, and the port of smtp right (587, 465, or 25)?"},
	{"no such host", "look at the host of smtp, and at the name server (/etc/resolv.conf)"},
	{"does not look like a TLS handshake", "the server speaks no TLS from the first byte on: write tls starttls"},
	{"certificate", "this machine does not trust the certificate: correct the host of smtp, or name its authority with ca_file"},
	{"STARTTLS", "the server offers no STARTTLS: write tls implicit and its port (465)"},
	{"535 ", "the server refuses the login: correct username and password"},
	{"AUTH", "the server takes no login like this: correct username and password, or leave both out"},
	{"auth", "the server refuses the login: correct username and password"},
	{"elay", "the server sends mails only for who logs in: add username and password, or let this machine relay"},
	{"i/o timeout", "the server says nothing: is a firewall between, or does the port want tls implicit?"},
	{"deadline", "the server says nothing: is a firewall between, or does the port want tls implicit?"},
}
