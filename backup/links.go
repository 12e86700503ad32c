package backup

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// Link is a download that whoever has its address may have, without signing in, until it expires: one file or folder of one
// snapshot in one form, and nothing else.
type Link struct {
	Repository string
	Snapshot   string // ID or stable ID, whole
	Path       string // from the root of the snapshot: "/shop/db.dump"
	Format     string // as archive.Parse reads it: "raw", "gz", "tar.gz"
	Expires    time.Time
}

// The errors of links that are not honoured.
var (
	ErrBadLink     = errors.New("this link is not valid")
	ErrExpiredLink = errors.New("this link has expired")
)

// linksKey is where the key of the signatures is kept. Whoever deletes the file makes all links invalid.
const linksKey = "backup/links.key"

// signatureTime bounds how long the storage of the key may take.
const signatureTime = 10 * time.Second

// SignLink makes the address of a link, below the public address. ErrInvalid when that is not known.
func (s *Service) SignLink(ctx context.Context, l Link) (string, error) {
	c, err := s.current()
	if err != nil {
		return "", err
	}
	if c.PublicURL == "" {
		return "", fmt.Errorf("%w: there are no links without the address of the page: add public_url to the global backup block", ErrInvalid)
	}
	key, err := s.signatureKey(ctx, c)
	if err != nil {
		return "", err
	}
	q := url.Values{"format": {l.Format}, "expires": {strconv.FormatInt(l.Expires.Unix(), 10)}, "sig": {hex.EncodeToString(l.sign(key))}}
	if l.Repository != DefaultRepository {
		q.Set("repository", l.Repository)
	}
	segments := append([]string{l.Snapshot}, strings.Split(strings.TrimPrefix(l.Path, "/"), "/")...)
	for i := range segments {
		segments[i] = url.PathEscape(segments[i])
	}
	return strings.TrimSuffix(c.PublicURL, "/") + "/links/" + strings.Join(segments, "/") + "?" + q.Encode(), nil
}

// VerifyLink judges the signature of a link, in hex, and whether it has expired. ErrBadLink, ErrExpiredLink.
func (s *Service) VerifyLink(ctx context.Context, l Link, signature string) error {
	given, err := hex.DecodeString(signature)
	if err != nil || len(given) != sha256.Size {
		return ErrBadLink
	}
	c, err := s.current()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, signatureTime)
	defer cancel()
	key, err := c.Store.Load(ctx, linksKey)
	switch {
	case errors.Is(err, fs.ErrNotExist) || err == nil && len(key) != sha256.Size:
		return ErrBadLink
	case err != nil:
		return fmt.Errorf("reading the key of links: %w", err)
	case !hmac.Equal(given, l.sign(key)):
		return ErrBadLink
	case !s.now().Before(l.Expires):
		return ErrExpiredLink
	}
	return nil
}

// sign binds all of a link. Quoted, the fields stay apart, whatever is in them.
func (l Link) sign(key []byte) []byte {
	mac := hmac.New(sha256.New, key)
	fmt.Fprintf(mac, "link 1 %q %q %q %q %d", l.Repository, l.Snapshot, l.Path, l.Format, l.Expires.Unix())
	return mac.Sum(nil)
}

// signatureKey loads the key, and makes it at the first time. A key of another length is replaced: with an empty one
// everybody could sign.
func (s *Service) signatureKey(ctx context.Context, c *setup) ([]byte, error) {
	s.linksMu.Lock()
	defer s.linksMu.Unlock()
	ctx, cancel := context.WithTimeout(ctx, signatureTime)
	defer cancel()
	key, err := c.Store.Load(ctx, linksKey)
	if err == nil && len(key) == sha256.Size {
		return key, nil
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("reading the key of links: %w", err)
	}
	key = make([]byte, sha256.Size)
	_, _ = rand.Read(key) // it never fails
	if err := c.Store.Store(ctx, linksKey, key); err != nil {
		return nil, fmt.Errorf("keeping the key of links: %w", err)
	}
	return c.Store.Load(ctx, linksKey) // another server may have made one at the same time
}
