package chaos_test

import (
	"flag"
	"fmt"
	"os"
	"testing"

	"go.uber.org/goleak"
)

// What to replay, as a failure prints it.
var (
	onlyPoint = flag.String("point", "", "die only at `point#count`, a regular expression, or at a pair of them; choose the drill by -run")
	seedFlag  = flag.Uint64("seed", 0, "`seed` of the random chaos; 0: a new one")
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m, goleak.Cleanup(func(code int) {
		removeBinary()
		fmt.Println(sum.String())
		os.Exit(code)
	}))
}
