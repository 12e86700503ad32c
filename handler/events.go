package handler

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"time"

	"github.com/caddy-backup/caddy-backup/backup"
)

// keepAlive is how often a silent event stream says that it lives. Caddy cuts connections that are idle for a minute.
const keepAlive = 20 * time.Second

// events streams a run as server-sent events: one event "run" with the run as JSON whenever it changed. The stream ends
// with the run, when the client is gone, and when the server stops: an open stream would hold up its shutdown.
func (a *API) events(c *call) error {
	ctx, cancel := context.WithCancel(c.r.Context())
	if _, err := c.service.Run(ctx, c.id()); err != nil {
		cancel()
		return err
	}
	h := c.w.Header()
	h.Set("Content-Type", "text/event-stream")
	h.Set("Cache-Control", "no-store, no-transform") // a compressing handler would hold events back
	h.Set("X-Content-Type-Options", "nosniff")
	if c.r.Method == http.MethodHead {
		cancel()
		return nil
	}
	runs := watch(ctx, c.service, c.id())
	defer func() {
		cancel()
		for range runs { // until the goroutine has ended
		}
	}()
	a.stream(ctx, c.w, runs)
	return nil
}

func (a *API) stream(ctx context.Context, w http.ResponseWriter, runs <-chan backup.Run) {
	control := http.NewResponseController(w)
	alive := time.NewTicker(keepAlive)
	defer alive.Stop()
	for {
		text := ": alive\n\n"
		select {
		case run, more := <-runs:
			if !more {
				return
			}
			data, err := json.Marshal(presentRun(run))
			if err != nil {
				return
			}
			text = fmt.Sprintf("event: run\ndata: %s\n\n", data)
		case <-alive.C:
		case <-a.Stopping:
			return
		case <-ctx.Done():
			return
		}
		if _, err := w.Write([]byte(text)); err != nil {
			return
		}
		if err := control.Flush(); err != nil {
			return
		}
	}
}

// watch follows a run in a goroutine that ends with the run or with ctx; then the channel is closed.
func watch(ctx context.Context, s *backup.Service, id string) <-chan backup.Run {
	runs := make(chan backup.Run)
	go func() {
		defer close(runs)
		for run, err := range s.Watch(ctx, id) {
			if err != nil {
				return // the client sees an end without an outcome, and asks again
			}
			select {
			case runs <- run:
			case <-ctx.Done():
				return
			}
		}
	}()
	return runs
}
