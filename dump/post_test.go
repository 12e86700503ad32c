package dump

import (
	"context"
	"sync"
	"time"

	"github.com/caddy-backup/caddy-backup/backup"
)

// post is a notifier that keeps what it is told.
type post struct {
	mu   sync.Mutex
	list []backup.Notification
}

func (p *post) Deliver(_ context.Context, n backup.Notification) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.list = append(p.list, n)
	return nil
}

// wait gives what came, when there is something and a moment has passed in which more could have come.
func (p *post) wait() []backup.Notification {
	for range 3000 {
		time.Sleep(20 * time.Millisecond)
		p.mu.Lock()
		list := p.list
		p.mu.Unlock()
		if len(list) > 0 {
			time.Sleep(20 * time.Millisecond)
			break
		}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	list := p.list
	p.list = nil
	return list
}
