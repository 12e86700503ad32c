package fsnode

import "testing"

func TestMatch(t *testing.T) {
	tests := []struct {
		pattern, name string
		folder, want  bool
	}{
		{"*.tmp", "a.tmp", false, true},
		{"*.tmp", "x/y/a.tmp", false, true},
		{"*.tmp", "x/a.tmp/b", false, false},
		{"*.tmp", "a.tmpx", false, false},
		{"*", ".hidden", false, true},
		{"cache/*", "cache/a", false, true},
		{"cache/*", "cache/a/b", false, false},
		{"cache/*", "cache", true, false},
		{"cache/*", "x/cache/a", false, false},
		{"/build", "build", true, true},
		{"/build", "x/build", true, false},
		{"**/cache/*", "cache/a", false, true},
		{"**/cache/*", "x/y/cache/a", false, true},
		{"a/**/z", "a/z", false, true},
		{"a/**/z", "a/b/c/z", false, true},
		{"a/**", "a/b/c", false, true},
		{"node_modules/", "x/node_modules", true, true},
		{"node_modules/", "x/node_modules", false, false},
		{"a/b/", "a/b", true, true},
		{"file[0-9]", "d/file7", false, true},
		{"file[!0-9]", "d/file7", false, false},
		{"*.{log,tmp}", "d/x.log", false, true},
		{`\*`, "*", false, true},
		{`\*`, "a", false, false},
		{`\!x`, "!x", false, true},
		{"*.bak", "inv\xff\xfe.bak", false, true},
		{"?", "ä", false, true},
		{"[", "[", false, false}, // malformed: CheckPattern refuses it before
	}
	for _, tt := range tests {
		if got := Match(tt.pattern, tt.name, tt.folder); got != tt.want {
			t.Errorf("Match(%q, %q, folder %v) = %v", tt.pattern, tt.name, tt.folder, got)
		}
	}
}

func TestCheckPattern(t *testing.T) {
	for _, p := range []string{"*.tmp", "/a", "a/", "**/x", `\!a`, "{a,b}", "..a", "a..", "..."} {
		if err := CheckPattern(p); err != nil {
			t.Errorf("%q: %v", p, err)
		}
	}
	for _, p := range []string{"", "/", "!a", "[", "a[", "{a", `a\`, "./a", "../a", "a//b", "a/../b", "."} {
		if err := CheckPattern(p); err == nil {
			t.Errorf("%q passed", p)
		}
	}
}

func FuzzMatch(f *testing.F) {
	for _, p := range []string{"*.tmp", "a/**/b", "{a,b}[!c-d]?", `\*`, "/x/"} {
		f.Add(p, "a/b.tmp")
	}
	f.Fuzz(func(t *testing.T, pattern, name string) {
		if CheckPattern(pattern) == nil {
			Match(pattern, name, true) // does not panic, and ends
		}
	})
}
