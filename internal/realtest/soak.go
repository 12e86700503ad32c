package realtest

import (
	"math/rand/v2"
	"os"
	"strconv"
	"testing"
)

// Soak reports whether tests should run as long as it takes to meet what is rare: SOAK=1, as make soak (scripts/soak) has
// it. Without it a test keeps to a few seconds and tries a part of the same. It is the one switch of all long tests.
func Soak() bool { return os.Getenv("SOAK") == "1" }

// Points says at which of many points in a row, counted from 1, a test tries the same: at every one. With -short, as the
// race detector has it, which makes each ten times slower, at every third from a random one on; many runs meet all.
func Points(t testing.TB) (first, step int) {
	t.Helper()
	if !testing.Short() {
		return 1, 1
	}
	const third = 3
	return 1 + int(Seed(t)%third), third
}

// Seed is the seed of a test that plays with chance: that of the environment's SEED, to have a failure once more, or
// another one each time. It is logged, so that it stands beside every failure.
func Seed(t testing.TB) uint64 {
	t.Helper()
	seed := rand.Uint64()
	if text := os.Getenv("SEED"); text != "" {
		var err error
		if seed, err = strconv.ParseUint(text, 10, 64); err != nil {
			t.Fatal("SEED: ", err)
		}
	}
	t.Logf("to have it again: SEED=%d go test -run '^%s$'", seed, t.Name())
	return seed
}
