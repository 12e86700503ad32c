package backup

import (
	"context"
	"log/slog"
	"strings"
	"sync/atomic"
)

// liveLog is a logger that outlives configurations: it always writes to the logger of the current one.
type liveLog struct {
	to atomic.Pointer[slog.Logger]
}

func (l *liveLog) set(to *slog.Logger) { l.to.Store(to) }

// setFirst is set as long as there is none.
func (l *liveLog) setFirst(to *slog.Logger) { l.to.CompareAndSwap(nil, to) }

// logger returns a logger that asks at every line where to write.
func (l *liveLog) logger() *slog.Logger { return slog.New(&liveHandler{live: l}) }

func (l *liveLog) handler() slog.Handler {
	if to := l.to.Load(); to != nil {
		return to.Handler()
	}
	return slog.DiscardHandler
}

// liveHandler keeps what With and WithGroup added, to repeat it on whatever handler is current.
type liveHandler struct {
	live *liveLog
	with []func(slog.Handler) slog.Handler
}

func (h *liveHandler) Enabled(ctx context.Context, level slog.Level) bool {
	return h.live.handler().Enabled(ctx, level)
}

func (h *liveHandler) Handle(ctx context.Context, r slog.Record) error {
	to := h.live.handler()
	for _, with := range h.with {
		to = with(to)
	}
	return to.Handle(ctx, r)
}

func (h *liveHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	return h.add(func(to slog.Handler) slog.Handler { return to.WithAttrs(attrs) })
}

func (h *liveHandler) WithGroup(name string) slog.Handler {
	return h.add(func(to slog.Handler) slog.Handler { return to.WithGroup(name) })
}

func (h *liveHandler) add(f func(slog.Handler) slog.Handler) slog.Handler {
	return &liveHandler{h.live, append(h.with[:len(h.with):len(h.with)], f)}
}

// runHandler puts lines into a run's own log and passes them on to the server's. Debug lines are for the server only.
type runHandler struct {
	lines *runLog
	next  slog.Handler
	attrs string // rendered, as With added them
}

func (h *runHandler) Enabled(ctx context.Context, level slog.Level) bool {
	return level >= slog.LevelInfo || h.next.Enabled(ctx, level)
}

func (h *runHandler) Handle(ctx context.Context, r slog.Record) error {
	if r.Level >= slog.LevelInfo {
		var text strings.Builder
		text.WriteString(r.Message)
		text.WriteString(h.attrs)
		r.Attrs(func(a slog.Attr) bool { renderAttr(&text, a); return true })
		h.lines.add(LogLine{Time: r.Time.UTC(), Level: r.Level.String(), Text: text.String()})
	}
	if !h.next.Enabled(ctx, r.Level) {
		return nil
	}
	return h.next.Handle(ctx, r)
}

func (h *runHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	var text strings.Builder
	for _, a := range attrs {
		renderAttr(&text, a)
	}
	return &runHandler{h.lines, h.next.WithAttrs(attrs), h.attrs + text.String()}
}

// WithGroup keeps the group for the server's log; in a run's log lines are flat.
func (h *runHandler) WithGroup(name string) slog.Handler {
	return &runHandler{h.lines, h.next.WithGroup(name), h.attrs}
}

func renderAttr(to *strings.Builder, a slog.Attr) {
	if a.Equal(slog.Attr{}) {
		return
	}
	to.WriteByte(' ')
	to.WriteString(a.Key)
	to.WriteByte('=')
	to.WriteString(a.Value.Resolve().String())
}
