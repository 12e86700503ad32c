package dump

import (
	"strings"
	"testing"
)

// testDjangoAdmitted asks a project before a job with it is added.
func testDjangoAdmitted(t *testing.T, s *djangoSite) {
	const known = "apps with models are: auth, contenttypes, shop"
	for _, c := range []struct {
		words string
		all   bool
		want  []string // nothing: it is admitted
	}{
		{"engine native", false, nil},
		{"", true, nil},
		{"apps shop.nothing", false, []string{"nothing", known}},
	} {
		err := s.source(c.words).Admit(t.Context(), c.all)
		if (err == nil) != (c.want == nil) {
			t.Errorf("%q: %v", c.words, err)
		}
		for _, want := range c.want {
			if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), djangoSecret) {
				t.Errorf("%q: %v, want %q", c.words, err, want)
			}
		}
	}
}
