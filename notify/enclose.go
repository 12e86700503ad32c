package notify

import (
	"bytes"
	"cmp"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/dustin/go-humanize"
	"github.com/wneessen/go-mail"

	"github.com/caddy-backup/caddy-backup/archive"
	"github.com/caddy-backup/caddy-backup/backup"
)

const (
	// maxAttach is the most that attach_up_to can be, in bytes: hardly any server takes more, and what is attached lies in
	// memory while it is sent.
	maxAttach = 64 << 20
	// packTime bounds how long a dump is read and packed before the mail goes without it. It is less than half of an attempt.
	packTime = 4 * time.Minute
	// linkTime bounds how long the repository may take to say what there is to link to.
	linkTime = 10 * time.Second
	// attachTime is how long an attempt may take that attaches something.
	attachTime = 10 * time.Minute
	// attachPatience is how long the server may be silent then: some look through the whole mail before they take it.
	attachPatience = 2 * time.Minute
)

// enclosure is what a mail brings of a dump.
type enclosure struct {
	backup.Enclosed
	files []*mail.File
	text  string // what the mail says of it; empty when there is nothing to say
}

// Enclose implements backup.Mailer.
func (e *Email) Enclose(ctx context.Context, n backup.Notification) backup.Enclosed {
	return e.enclose(ctx, n).Enclosed
}

// AttemptTime implements backup.Mailer.
func (e *Email) AttemptTime(n backup.Notification) time.Duration {
	if e.attaches(n) {
		return attachTime
	}
	return backup.AttemptTime
}

func (e *Email) attaches(n backup.Notification) bool { return e.AttachUpTo > 0 && n.Dump != nil }

// enclose packs what is to be attached, else makes links. What goes wrong with that keeps no news from being told: the mail
// says so.
func (e *Email) enclose(ctx context.Context, n backup.Notification) enclosure {
	out := enclosure{Enclosed: backup.Enclosed{Attached: []string{}}}
	if n.Dump == nil {
		return out
	}
	if e.attaches(n) {
		err := out.attach(ctx, n.Dump, e.AttachUpTo)
		if err == nil {
			return out
		}
		out.files, out.Attached, out.NotAttached = nil, []string{}, err.Error()
		out.text = "Not attached: " + out.NotAttached + ".\n"
	}
	out.link(ctx, n.Dump)
	return out
}

// attach packs all parts. An error is that of the first that cannot be attached.
func (out *enclosure) attach(ctx context.Context, d *backup.Dump, limit int64) error {
	ctx, cancel := context.WithTimeout(ctx, packTime)
	defer cancel()
	parts, err := d.Parts(ctx)
	if err != nil {
		return err
	}
	room := limit
	var text strings.Builder
	text.WriteString("Attached:\n")
	for _, p := range parts {
		b := &packed{room: room}
		name, media, err := pack(ctx, d, p, b)
		switch {
		case b.full:
			return fmt.Errorf("it is larger than %s in the mail", humanize.IBytes(uint64(limit)))
		case ctx.Err() != nil:
			return errors.New("to read and pack it takes too long")
		case err != nil:
			return fmt.Errorf("%s: %w", p.Name, err)
		}
		room -= encodedLen(b.Len())
		out.Attached = append(out.Attached, name)
		out.files = append(out.files, b.file(name, media))
		fmt.Fprintf(&text, "  %s, %s\n", name, humanize.IBytes(uint64(b.Len())))
		if p.SHA256 != "" {
			fmt.Fprintf(&text, "  SHA-256 of its content: %s\n", p.SHA256)
		}
	}
	out.text = text.String()
	return nil
}

// pack writes a part in the form in which people get it, and says what it is called then.
func pack(ctx context.Context, d *backup.Dump, p backup.ManifestPart, w io.Writer) (name, media string, err error) {
	if p.Folder {
		f, err := d.OpenFolder(ctx, p.Name)
		if err != nil {
			return "", "", err
		}
		return f.Filename + "." + string(archive.TarGzip), archive.TarGzip.Media(), archive.WriteFolder(ctx, w, archive.TarGzip, f.Self, f)
	}
	format, err := archive.Parse(d.Format)
	if err != nil {
		return "", "", err
	}
	o, err := d.Open(ctx, p.Name)
	if err != nil {
		return "", "", err
	}
	defer o.Close()
	name = o.Filename
	if format != archive.Raw {
		name += "." + string(format)
	}
	return name, cmp.Or(format.Media(), o.Media), archive.WriteFile(w, format, o)
}

// link makes links, where the public address is known.
func (out *enclosure) link(ctx context.Context, d *backup.Dump) {
	ctx, cancel := context.WithTimeout(ctx, linkTime)
	defer cancel()
	links, until, err := d.Links(ctx)
	switch {
	case err != nil:
		out.text += "There are no links to download it: " + err.Error() + "\n"
	case len(links) > 0:
		out.LinksUntil = until.UTC().Format(time.RFC3339)
		out.text += "Download, until " + until.Format("2006-01-02 15:04 MST") + "; whoever has these links needs no password:\n\n" +
			strings.Join(links, "\n\n") + "\n"
	}
}

// packed is a buffer that grows no further than there is room in the mail. Only a part that was read and packed to its end
// is attached, so that a mail never holds half of one.
type packed struct {
	bytes.Buffer
	room int64 // bytes, as they stand in the mail
	full bool  // more was to be written
}

var errFull = errors.New("no room left")

// Write refuses what does not fit.
func (p *packed) Write(b []byte) (int, error) {
	if encodedLen(p.Len()+len(b)) > p.room {
		p.full = true
		return 0, errFull
	}
	return p.Buffer.Write(b)
}

// encodedLen is how long n bytes are in a mail: base64, in lines of 76 and their ends.
func encodedLen(n int) int64 {
	encoded := int64(base64.StdEncoding.EncodedLen(n))
	return encoded + 2*((encoded+75)/76)
}

func (p *packed) file(name, media string) *mail.File {
	return &mail.File{Name: name, ContentType: mail.ContentType(media), Header: map[string][]string{}, Writer: func(w io.Writer) (int64, error) {
		n, err := w.Write(p.Bytes())
		return int64(n), err
	}}
}
