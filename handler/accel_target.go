package handler

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/caddy-backup/caddy-backup/backup"
)

// target is what an answer names: a file in a snapshot, or one below a folder.
type target struct {
	job      string // of a snapshot; "" = a plain file
	snapshot string // "latest" or an ID
	root     string // of a plain file
	path     string // without a slash at its beginning: below the job's folder, or below root
}

// errTarget is a header that names nothing that may be had; the text says why, for the log.
var errTarget = fmt.Errorf("%w: nothing is served for this header", backup.ErrNotFound)

// target finds out what the headers of an answer name. X-Accel-Redirect counts when both are there.
func (a *Accel) target(h http.Header) (target, error) {
	name, values, parse := redirectHeader, h.Values(redirectHeader), a.parseRedirect
	if len(values) == 0 {
		name, values, parse = sendfileHeader, h.Values(sendfileHeader), a.parseSendfile
	}
	if len(values) != 1 {
		return target{}, fmt.Errorf("%w: %s is there %d times", errTarget, name, len(values))
	}
	value := values[0]
	if name == redirectHeader {
		value, _, _ = strings.Cut(value, "?") // a query, as in nginx; in a name it is written %3F
	}
	path, err := accelPath(value)
	var t target
	if err == nil {
		t, err = parse(path)
	}
	if err != nil {
		return target{}, fmt.Errorf("%w: %s %q %w", errTarget, name, value, err)
	}
	return t, nil
}

func (a *Accel) parseRedirect(path string) (target, error) {
	for _, s := range a.Snapshots {
		if rest, ok := strings.CutPrefix(path, s.Prefix); ok {
			return s.parse(rest)
		}
	}
	for _, f := range a.Files {
		if rest, ok := strings.CutPrefix(path, f.Prefix); ok && rest != "" {
			return target{root: f.Root, path: rest}, nil
		}
	}
	return target{}, errors.New("lies below none of the prefixes of `snapshots` and `files`")
}

func (s AccelSnapshots) parse(rest string) (target, error) {
	job, rest, _ := strings.Cut(rest, "/")
	id, path, _ := strings.Cut(rest, "/")
	switch {
	case path == "":
		return target{}, fmt.Errorf("is not of the form %s<job>/<snapshot or latest>/<path>", s.Prefix)
	case !slices.Contains(s.Jobs, job) && !slices.Contains(s.Jobs, everyJob):
		return target{}, fmt.Errorf("job %q is not one of those that stand after `snapshots %s`", job, s.Prefix)
	}
	return target{job: job, snapshot: id, path: path}, nil
}

func (a *Accel) parseSendfile(path string) (target, error) {
	for _, root := range a.SendfileRoots {
		if rest, ok := strings.CutPrefix(path, withSlash(root)); ok {
			return target{root: root, path: rest}, nil
		}
	}
	return target{}, errors.New("lies below none of the folders of `sendfile_root`")
}

func withSlash(folder string) string { return strings.TrimSuffix(folder, "/") + "/" }

// accelPath decodes the value of a header and holds it to a path that means one thing only, to everybody: absolute, and
// names between single slashes. Names of one or two dots, backslashes and control characters are refused rather than
// resolved.
func accelPath(value string) (string, error) {
	path, err := unescape(value)
	if err != nil {
		return "", err
	}
	rest, absolute := strings.CutPrefix(path, "/")
	if !absolute {
		return "", errors.New("does not begin with a slash")
	}
	for name := range strings.SplitSeq(rest, "/") {
		switch {
		case name == "":
			return "", errors.New("has nothing between two slashes, or after the last one")
		case name == "." || name == "..":
			return "", fmt.Errorf("has the name %q in it", name)
		}
	}
	for i := range len(path) {
		if c := path[i]; c < ' ' || c == 0x7f || c == '\\' {
			return "", fmt.Errorf("has the character %q in it", c)
		}
	}
	return path, nil
}

// unescape decodes what is percent-encoded, once, as nginx does with X-Accel-Redirect and lighttpd with X-Sendfile. An
// encoded slash is refused: no name has one in it, so whoever encoded it did not know that it was there.
func unescape(s string) (string, error) {
	if strings.Contains(strings.ToLower(s), "%2f") {
		return "", errors.New("has an encoded slash in it")
	}
	out, err := url.PathUnescape(s)
	if err != nil {
		return "", fmt.Errorf("%w: write %% as %%25", err)
	}
	return out, nil
}
