package handler

import (
	"errors"
	"io"
	"net/http"
	"time"
)

// impatient is a way out to a client that must take an answer at a decent pace. It is for answers during which others
// wait. How long the answer itself takes does not count.
type impatient struct {
	w       io.Writer
	control *http.ResponseController
	left    time.Duration // how long the client may still keep us waiting
}

// The client may keep an answer waiting for a while, and for longer the more it has taken.
const (
	maxWaiting = time.Minute
	minPace    = 32 << 10 // bytes a second
)

var errSlow = errors.New("the client takes the answer too slowly, and others wait")

func newImpatient(w http.ResponseWriter, left time.Duration) *impatient {
	return &impatient{w, http.NewResponseController(w), left}
}

// Write sets a deadline for itself alone: with HTTP/2 one that is left standing ends the stream when nothing is written.
func (p *impatient) Write(b []byte) (int, error) {
	begun := time.Now()
	_ = p.control.SetWriteDeadline(begun.Add(p.left)) // where there are none, the time is looked at afterwards
	n, err := p.w.Write(b)
	_ = p.control.SetWriteDeadline(time.Time{})
	if p.left -= time.Since(begun); p.left <= 0 {
		return n, errors.Join(errSlow, err)
	}
	p.left += time.Duration(n) * time.Second / minPace
	return n, err
}
