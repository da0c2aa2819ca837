package work

import (
	"context"
	"errors"
	"log/slog"
	"strings"
)

// quiet keeps River's own chatter from the operator: its lines at Info, and its
// complaints of being stopped, which it calls errors.
func quiet(log *slog.Logger) *slog.Logger { return slog.New(riverLog{log.Handler()}) }

type riverLog struct{ slog.Handler }

func (h riverLog) Enabled(ctx context.Context, level slog.Level) bool {
	return level >= slog.LevelWarn && h.Handler.Enabled(ctx, level)
}

func (h riverLog) Handle(ctx context.Context, r slog.Record) error {
	stopped := false
	r.Attrs(func(a slog.Attr) bool {
		err, ok := a.Value.Any().(error)
		stopped = ok && errors.Is(err, context.Canceled) || strings.HasSuffix(a.Value.String(), context.Canceled.Error())
		return !stopped
	})
	if stopped {
		return nil
	}
	return h.Handler.Handle(ctx, r)
}

func (h riverLog) WithAttrs(a []slog.Attr) slog.Handler { return riverLog{h.Handler.WithAttrs(a)} }
func (h riverLog) WithGroup(name string) slog.Handler   { return riverLog{h.Handler.WithGroup(name)} }
