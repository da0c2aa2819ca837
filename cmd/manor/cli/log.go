package cli

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"time"

	"github.com/lmittmann/tint"
)

// logger is the log of a control plane in this process, on standard error.
func (a *app) logger(least slog.Level) *slog.Logger {
	if tty, _ := terminal(a.err); tty {
		return slog.New(tint.NewTextHandler(a.err, &tint.Options{Level: least, TimeFormat: time.TimeOnly, NoColor: !a.print.ErrColor}))
	}
	return slog.New(slog.NewTextHandler(a.err, &slog.HandlerOptions{Level: least}))
}

// logLevel is the usual one of a command, or everything with --verbose.
func (a *app) logLevel(usual slog.Level) slog.Level {
	if a.verbose {
		return slog.LevelDebug
	}
	return usual
}

// passing drops records of work that was cut short because the command is
// over: the job engine calls that an error, the user of a command would not.
type passing struct{ slog.Handler }

func (h passing) Handle(ctx context.Context, r slog.Record) error {
	cut := false
	r.Attrs(func(at slog.Attr) bool {
		err, ok := at.Value.Any().(error)
		cut = ok && errors.Is(err, context.Canceled) || strings.HasSuffix(at.Value.String(), context.Canceled.Error())
		return !cut
	})
	if cut {
		return nil
	}
	return h.Handler.Handle(ctx, r)
}

func (h passing) WithAttrs(attrs []slog.Attr) slog.Handler {
	return passing{h.Handler.WithAttrs(attrs)}
}
func (h passing) WithGroup(name string) slog.Handler { return passing{h.Handler.WithGroup(name)} }
