package caddybackup

import "sync"

// news tells all apps of this process that one of them has changed which jobs are stored. While a configuration takes another's place
// both are there, and the new one may have read the storage right before the old one wrote.
type news struct {
	mu   sync.Mutex
	next chan struct{} // closed by the next tell; nil while nobody waits
}

// wait returns a channel that is closed by the next tell.
func (n *news) wait() <-chan struct{} {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.next == nil {
		n.next = make(chan struct{})
	}
	return n.next
}

func (n *news) tell() {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.next != nil {
		close(n.next)
		n.next = nil
	}
}
