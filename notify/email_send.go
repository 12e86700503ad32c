package notify

import (
	"cmp"
	"context"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"fmt"
	"net"
	netmail "net/mail"
	"slices"
	"strings"
	"time"

	"github.com/wneessen/go-mail"
	"github.com/wneessen/go-mail/smtp"

	"github.com/caddy-backup/caddy-backup/backup"
)

// Deliver implements backup.Notifier.
func (e *Email) Deliver(ctx context.Context, n backup.Notification) error {
	enclosed := e.enclose(ctx, n)
	m, err := e.message(n, enclosed)
	if err != nil {
		return err
	}
	silence := patience
	if len(enclosed.files) > 0 {
		silence = attachPatience
	}
	client, conn, err := e.connect(ctx, silence)
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

// connect opens a connection to the server, encrypted and logged in as is configured; it ends with ctx, or after some silence.
func (e *Email) connect(ctx context.Context, silence time.Duration) (*mail.Client, *smtp.Client, error) {
	client, err := mail.NewClient(e.host, append(slices.Clip(e.options), mail.WithDialContextFunc(e.dialUntil(ctx, silence)))...)
	if err != nil {
		return nil, nil, err
	}
	conn, err := client.DialToSMTPClientWithContext(ctx)
	return client, conn, err
}

// dialUntil makes connections that end with ctx, at which the library looks while it connects only, or after some silence.
func (e *Email) dialUntil(ctx context.Context, silence time.Duration) mail.DialContextFunc {
	return func(dialing context.Context, network, address string) (net.Conn, error) {
		conn, err := new(net.Dialer).DialContext(dialing, network, address)
		if err != nil {
			return nil, err
		}
		context.AfterFunc(ctx, func() { conn.Close() })
		talks := talking{conn, silence}
		if e.implicit {
			return tls.Client(talks, e.trust), nil
		}
		return talks, nil
	}
}

// talking is a connection that ends when the other side moves nothing for some time. The library sets one deadline for a
// whole mail, however long it is.
type talking struct {
	net.Conn
	silence time.Duration
}

func (c talking) Read(p []byte) (int, error) {
	_ = c.Conn.SetDeadline(time.Now().Add(c.silence)) // where it fails, so does the reading
	return c.Conn.Read(p)
}

func (c talking) Write(p []byte) (int, error) {
	_ = c.Conn.SetDeadline(time.Now().Add(c.silence))
	return c.Conn.Write(p)
}

func (talking) SetDeadline(time.Time) error { return nil }

func (e *Email) message(n backup.Notification, enclosed enclosure) (*mail.Msg, error) {
	m := mail.NewMsg()
	if err := m.From(e.from); err != nil {
		return nil, err
	}
	if err := m.To(append(slices.Clip(e.to), n.MailTo...)...); err != nil {
		return nil, err
	}
	from, err := netmail.ParseAddress(e.from)
	if err != nil {
		return nil, err
	}
	_, domain, _ := strings.Cut(from.Address, "@")
	m.SetMessageIDWithValue(n.ID + "@" + domain) // the same in all attempts
	m.SetDate()
	x := told{n, enclosed.text}
	m.Subject(cmp.Or(oneLine(e.subject.sayOr(x, n.Title)), oneLine(n.Title)))
	m.SetGenHeader("Auto-Submitted", "auto-generated")
	m.SetUserAgent("caddy-backup")
	ours := n.Text
	if enclosed.text != "" {
		ours += "\n" + enclosed.text
	}
	m.SetBodyString(mail.TypeTextPlain, e.text.sayOr(x, ours))
	m.SetAttachments(enclosed.files)
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
