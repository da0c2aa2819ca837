package cli

import (
	"log/slog"
	"time"

	"github.com/lmittmann/tint"
)

// logger is the log of a control plane in this process, on standard error.
func (a *app) logger(least slog.Level) *slog.Logger {
	if tty, _, _ := terminal(a.err); tty {
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
