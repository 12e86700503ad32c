package handler

import (
	"errors"
	"fmt"
)

// making bounds how many downloads are made at the same time that are not sent as they are stored: compressors have
// large buffers, a walk holds the list of each folder on its way, and a client may take what is made as slowly as it
// likes. Without a bound a handful of people, or of retries, takes all memory of the server.
type making chan struct{}

// maxMaking is how many those are, in each of the pages and the API.
const maxMaking = 8

// errBusy asks the client to come again.
var errBusy = errors.New("busy")

func (m making) enter() (leave func(), err error) {
	select {
	case m <- struct{}{}:
		return func() { <-m }, nil
	default:
		return nil, fmt.Errorf("%w: %d archives and compressed files are being downloaded; come again when one of them is done", errBusy, cap(m))
	}
}
