package handler

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime/multipart"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"
	"unicode"

	"github.com/dustin/go-humanize"

	"github.com/caddy-backup/caddy-backup/backup"
)

// A dump file is uploaded as a form (multipart/form-data): small fields first, then the file, which goes to the source as it
// arrives. Nothing of it is kept, in memory or on a disk of ours. What breaks off leaves the live one as it was.

// errBrokenOff is what the source is told when an upload does not come to its end.
var errBrokenOff = errors.New("the upload broke off")

// mayUpload refuses uploads where the site does not allow them, or when the request says that it is too large.
func (a *API) mayUpload(c *call) error {
	if a.Unlimited {
		return fmt.Errorf("%w: no uploads here: give the path of the file to jobs/%s/restore", backup.ErrInvalid, c.r.PathValue("job"))
	}
	if a.UploadLimit <= 0 {
		return fmt.Errorf("%w: dump files are not taken here; add allow_upload to the backup directive, or use the command line: "+
			"caddy backup restore --file", ErrForbidden)
	}
	if c.r.ContentLength > a.UploadLimit+maxBody {
		return a.tooLarge()
	}
	return nil
}

func (a *API) tooLarge() error {
	return fmt.Errorf("%w: allow_upload lets %s through; a packed file (gzip, bzip2, zstd) is smaller", errTooLarge,
		humanize.IBytes(uint64(a.UploadLimit)))
}

// upload restores the file in the body through a source of a job. It answers when all of it has arrived.
func (a *API) upload(c *call) error {
	if err := a.mayUpload(c); err != nil {
		return err
	}
	fields, file, err := a.openUpload(c)
	if err != nil {
		return err
	}
	q := backup.FileRestore{
		Job: c.r.PathValue("job"), Part: fields.Get("part"), Overwrite: fields.Get("overwrite") == "true", Confirm: fields.Get("confirm"),
		Force: fields.Get("force") == "true", NoSafety: fields.Get("no_safety") == "true",
	}
	run, err := a.receive(c, q, file)
	return c.answerAs(http.StatusAccepted, presentRun(run), withRun(err, run))
}

// openUpload reads the fields of an upload, and comes to its file.
func (a *API) openUpload(c *call) (url.Values, *multipart.Part, error) {
	c.r.Body = http.MaxBytesReader(c.w, c.r.Body, a.UploadLimit+maxBody)
	form, err := c.r.MultipartReader()
	if err != nil {
		return nil, nil, fmt.Errorf("%w: send multipart/form-data", errMedia)
	}
	fields, left := url.Values{}, int64(maxBody)
	for {
		part, err := form.NextPart()
		if err != nil {
			return nil, nil, fmt.Errorf("%w form: there is no file in it, or it broke off: %w", backup.ErrInvalid, err)
		}
		if part.FormName() == "file" {
			return fields, part, nil
		}
		value, err := io.ReadAll(io.LimitReader(part, left+1))
		if left -= int64(len(part.FormName()) + len(value)); err != nil || left < 0 {
			return nil, nil, fmt.Errorf("%w form: the fields before the file are too long, or broke off", backup.ErrInvalid)
		}
		fields.Add(part.FormName(), string(value))
	}
}

// receive starts the restore of an uploaded file, and hands it over as it arrives. Where it is not to go over the live one,
// the place is chosen here.
func (a *API) receive(c *call, q backup.FileRestore, file *multipart.Part) (run backup.Run, err error) {
	if !q.Overwrite {
		if q.Place, err = a.newPlace(c.r.Context(), c.service, q); err != nil {
			return run, err
		}
	}
	theirs, ours := io.Pipe()
	q.File, q.Stream = uploadName(file.FileName()), theirs
	if run, err = c.service.RestoreFile(c.r.Context(), c.by(), q); err != nil {
		return run, err
	}
	_, err = io.CopyBuffer(ours, onlyReader{file}, make([]byte, 256<<10))
	_ = ours.CloseWithError(a.fault(err))
	if errors.Is(err, io.ErrClosedPipe) { // the run ended before the file did
		a.drain(c, file)
	}
	return run, nil
}

// drained is for how long the rest of an upload is read that nobody wants any more.
const drained = 5 * time.Minute

// drain reads the rest of an upload: browsers show an answer only when they have sent all. A server that is told to stop does
// not wait for that.
func (a *API) drain(c *call, file io.Reader) {
	control := http.NewResponseController(c.w)
	_ = control.SetReadDeadline(time.Now().Add(drained)) // where there is none, the client's own patience ends it
	done := make(chan struct{})
	defer close(done)
	go func() {
		select {
		case <-a.Stopping:
			_ = control.SetReadDeadline(time.Now())
		case <-done:
		}
	}()
	_, _ = io.Copy(io.Discard, file)
}

// onlyReader hides that a part could write itself, which would be in pieces of its own choosing.
type onlyReader struct{ io.Reader }

// fault says plainly why an upload did not come to its end; nil when it did.
func (a *API) fault(err error) error {
	if _, ok := errors.AsType[*http.MaxBytesError](err); ok {
		return a.tooLarge()
	}
	if err != nil {
		return fmt.Errorf("%w: %w", errBrokenOff, err)
	}
	return nil
}

// uploadName is the name of an uploaded file for people; a browser may say anything.
func uploadName(name string) string {
	name = strings.Map(func(r rune) rune {
		if unicode.IsControl(r) || r == unicode.ReplacementChar {
			return -1
		}
		return r
	}, strings.ToValidUTF8(name, ""))
	if runes := []rune(filepath.Base(name)); name != "" {
		return string(runes[:min(len(runes), 100)])
	}
	return "upload"
}

// newPlace chooses where an uploaded dump is restored to when it is not to go over the live one: a new database, or a new file
// below restore_root.
func (a *API) newPlace(ctx context.Context, s *backup.Service, q backup.FileRestore) (string, error) {
	parts, err := s.FileParts(ctx, q.Job)
	if err != nil {
		return "", err
	}
	for _, p := range parts {
		if p.Name != q.Part {
			continue
		}
		at := time.Now()
		switch form := backup.FormOf(p.Kind, backup.Part{Name: p.Name}); {
		case isDatabase(form):
			return newDatabase(q.Job, at), nil
		case isFile(form) && a.RestoreRoot == "":
			return "", fmt.Errorf("%w: %s becomes a new file, and there is no place for one; add restore_root <folder> to the backup directive",
				ErrForbidden, p.Name)
		case isFile(form):
			if err := os.MkdirAll(a.RestoreRoot, 0o700); err != nil {
				return "", fmt.Errorf("make restore_root: %w", err)
			}
			return filepath.Join(a.RestoreRoot, strings.ReplaceAll(q.Job, "/", "_")+at.UTC().Format("-20060102-150405.000")+".sqlite3"), nil
		}
		return "", fmt.Errorf("%w: %s can only be restored over the live one", backup.ErrInvalid, p.Name)
	}
	return "", fmt.Errorf("%w: job %s has no part %q that is a file", backup.ErrInvalid, q.Job, q.Part)
}

// isFile reports whether a dump of a form is restored into a new file: an SQLite database.
func isFile(f backup.Form) bool { return f == backup.FormSQLite || f == backup.FormFixture }

// Upload restores a dump that is sent along, as q says: over the live one, or into a new place that the server chooses; the
// run tells it. It returns when all of it was sent.
func (c *Client) Upload(ctx context.Context, q backup.FileRestore, dump io.Reader) (out backup.Run, err error) {
	var head bytes.Buffer
	form := multipart.NewWriter(&head)
	for name, value := range map[string]string{"part": q.Part, "confirm": q.Confirm, "overwrite": fmt.Sprint(q.Overwrite),
		"force": fmt.Sprint(q.Force), "no_safety": fmt.Sprint(q.NoSafety)} {
		_ = form.WriteField(name, value) // into memory
	}
	_, _ = form.CreateFormFile("file", q.File)
	tail := "\r\n--" + form.Boundary() + "--\r\n"
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, c.Base+join("jobs", q.Job, "upload"),
		io.MultiReader(&head, dump, strings.NewReader(tail)))
	if err != nil {
		return out, err
	}
	req.Header.Set("Content-Type", form.FormDataContentType())
	resp, err := cmp.Or(c.HTTP, http.DefaultClient).Do(req)
	if err != nil {
		return out, err
	}
	defer resp.Body.Close()
	if resp.StatusCode >= 300 {
		return out, answered(resp)
	}
	return out, json.NewDecoder(resp.Body).Decode(&out)
}
