package fsnode_test

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"strings"
	"testing"

	"github.com/caddy-backup/caddy-backup/fsnode"
	"github.com/caddy-backup/caddy-backup/internal/realtest"
)

// TestPeek: what Save could not read is named, in depth; what it would leave out is not.
func TestPeek(t *testing.T) {
	realtest.NeedRoot(t, "it changes its user")
	base := openDir(t)
	tree := base + "/tree"
	must(t, os.MkdirAll(tree+"/a/b", 0o755), os.Mkdir(tree+"/a/closed", 0o700), os.WriteFile(tree+"/a/b/secret", nil, 0o600),
		os.WriteFile(tree+"/fine", nil, 0o644), os.Symlink("nowhere", tree+"/link"), os.MkdirAll(tree+"/cache", 0o700))
	for _, name := range []string{"1", "2", "3"} {
		must(t, os.WriteFile(tree+"/a/b/secret"+name, nil, 0o600))
	}
	look := func(ctx context.Context, o fsnode.SaveOptions) (p fsnode.Peeked) {
		t.Helper()
		var err error
		asUser(t, 65534, func() { p, err = fsnode.Peek(ctx, tree, o) })
		must(t, err)
		return p
	}
	p := look(t.Context(), fsnode.SaveOptions{Exclude: []string{"cache"}})
	if p.Entries != 9 || !p.Whole || len(p.Closed) != 3 || p.More != 2 {
		t.Fatalf("%+v", p)
	}
	for i, want := range []string{"/a/b/secret", "/a/b/secret1"} {
		if err := p.Closed[i]; !errors.Is(err, fs.ErrPermission) || !strings.Contains(err.Error(), "setfacl -m u:nobody:rX "+tree+want) {
			t.Errorf("%v, want %s", err, want)
		}
	}
	if p := look(t.Context(), fsnode.SaveOptions{Exclude: []string{"secret*", "closed", "cache"}}); p.Entries != 4 || len(p.Closed) > 0 {
		t.Errorf("%+v", p)
	}
	if p := look(t.Context(), fsnode.SaveOptions{Skip: []string{tree + "/a", tree + "/cache"}}); p.Entries != 2 || len(p.Closed) > 0 {
		t.Errorf("%+v", p)
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if p := look(ended, fsnode.SaveOptions{}); p.Whole {
		t.Errorf("%+v", p)
	}
}
