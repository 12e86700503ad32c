package backup

import "context"

// turns lets as many callers work at a time as it has room for; the others wait. It is for reads that take much memory or
// time, of which anybody who may look can ask for any number.
type turns chan struct{}

// enter waits for a turn; leave ends it. After an error there is nothing to leave.
func (t turns) enter(ctx context.Context) (leave func(), err error) {
	select {
	case t <- struct{}{}:
		return func() { <-t }, nil
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

// maxListing is how many folders are read at a time to be listed: one of 40 000 files takes 100 MB meanwhile.
const maxListing = 4
