package cli

import (
	"fmt"
	"math"
	"strconv"
	"strings"

	"github.com/manorhq/manor/controlplane"
)

// byteSize is a flag for a number of bytes: "512MB", "10 GB", "4096".
type byteSize int64

// byteUnits are powers of 1024, as PostgreSQL has them.
var byteUnits = []struct {
	name  string
	bytes float64
}{{"KB", 1 << 10}, {"MB", 1 << 20}, {"GB", 1 << 30}, {"TB", 1 << 40}, {"B", 1}, {"", 1}}

func (b *byteSize) Set(text string) error {
	upper := strings.ToUpper(strings.TrimSpace(text))
	for _, unit := range byteUnits {
		number, ok := strings.CutSuffix(upper, unit.name)
		if !ok {
			continue
		}
		n, err := strconv.ParseFloat(strings.TrimSpace(number), 64)
		if err != nil || !(n > 0 && n*unit.bytes < math.MaxInt64) {
			break
		}
		*b = byteSize(n * unit.bytes)
		return nil
	}
	return controlplane.Errorf(controlplane.Invalid, "%q is no size such as 512MB or 10GB", text)
}

func (b *byteSize) String() string {
	if *b == 0 {
		return ""
	}
	return fmt.Sprint(int64(*b))
}

func (*byteSize) Type() string { return "bytes" }
