package fsnode

import (
	"errors"
	"testing"
)

// TestSettled: an entry that is replaced meanwhile is looked at again, one that cannot be opened once more, and all else counts at once.
func TestSettled(t *testing.T) {
	denied, other := openError{sourceError{errors.New("denied")}}, errors.New("disk full")
	for _, c := range []struct {
		name  string
		tries []error // the last one again and again
		want  error
		made  int
	}{
		{"at once", []error{nil}, nil, 1},
		{"replaced", []error{errSwapped, errSwapped, nil}, nil, 3},
		{"replaced for ever", []error{errSwapped}, errSwapped, 100},
		{"closed", []error{denied}, denied, 2},
		{"something else for the moment of opening", []error{denied, nil}, nil, 2},
		{"that, and replaced, again and again", []error{denied, errSwapped, denied, errSwapped, denied, nil}, nil, 6},
		{"another error", []error{errSwapped, other, nil}, other, 2},
		{"an error further down", []error{readable(errSwapped, "/x", "x"), nil}, errSwapped, 1},
	} {
		made := 0
		err := settled(func() error {
			made++
			return c.tries[min(made, len(c.tries))-1]
		})
		if made != c.made || !errors.Is(err, c.want) || (err == nil) != (c.want == nil) {
			t.Errorf("%s: %v after %d tries, want %v after %d", c.name, err, made, c.want, c.made)
		}
	}
}
