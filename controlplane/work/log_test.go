package work

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
)

func TestRiverCutShortByTheEndIsNoError(t *testing.T) {
	var out bytes.Buffer
	log := quiet(slog.New(slog.NewTextHandler(&out, nil))).With("a", 1)
	log.Error("cut", "err", fmt.Errorf("begin: %w", context.Canceled))
	log.Error("cut", "error", "begin: context canceled")
	log.Error("kept", "err", errors.New("disk full"))
	log.Warn("kept", "tenant", "acme")
	if got := out.String(); strings.Contains(got, "cut") || strings.Count(got, "kept") != 2 {
		t.Error(got)
	}
}
