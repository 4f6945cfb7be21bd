package conformance

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"
)

// drawn are settings of a run that must make no difference.
type drawn struct {
	// workers is what the server is told, parallelism what Python asks for.
	workers, parallelism int
	options              []string
}

func draw(dice *rand.Rand) drawn {
	of := func(values ...int) int { return values[dice.IntN(len(values))] }
	d := drawn{workers: of(1, 2, 3), parallelism: of(1, 2, 3)}
	d.options = []string{
		fmt.Sprint("--gorunner_bundle_bytes=", of(1, 100, 10_000, 1<<20)),
		fmt.Sprint("--gorunner_key_groups=", of(1, 2, 7, 200)),
		fmt.Sprint("--gorunner_checkpoint_ms=", of(1, 10, 100)),
	}
	if dice.IntN(2) == 0 {
		d.options = append(d.options, "--gorunner_disable_fusion")
	}
	return d
}

// TestMetamorphic runs pipelines, which check their own results, with settings
// that must make no difference to these: the size of bundles, key groups,
// checkpoints, workers, fusion. Some of the pipelines have accidents.
//
// GORUNNER_METAMORPHIC is the number of rounds; of each, a few pipelines run in
// the default one, all if the number is given. GORUNNER_METAMORPHIC_SEED repeats
// what a run has printed.
func TestMetamorphic(t *testing.T) {
	need(t, smoke, goSDK, python)
	if peer() != "" {
		t.Skip("the options are ours")
	}
	rounds, few := 1, true
	if n, err := strconv.Atoi(os.Getenv("GORUNNER_METAMORPHIC")); err == nil {
		rounds, few = n, false
	}
	seed := uint64(time.Now().UnixNano())
	if n, err := strconv.ParseUint(os.Getenv("GORUNNER_METAMORPHIC_SEED"), 10, 64); err == nil {
		seed = n
	}
	for range rounds {
		t.Run(fmt.Sprint(seed), func(t *testing.T) { metamorphicRound(t, seed, few) })
		seed++
	}
}

func metamorphicRound(t *testing.T, seed uint64, few bool) {
	t.Helper()
	dice := rand.New(rand.NewPCG(seed, 0))
	d := draw(dice)
	t.Logf("GORUNNER_METAMORPHIC_SEED=%d is %+v", seed, d)
	s := startServer(t, fmt.Sprint("--workers=", d.workers))
	inGo := []string{
		"tiny", "unused", "empty", "diamond", "flatten", "emptykeys", "cogbk", "combine", "mapview",
		"fixed", "sliding", "sessions", "hotkey", "flaky", "splittimers",
	}
	inPython := []string{"tiny", "empty_keys", "hot_key", "side_inputs", "sessions"}
	for _, names := range [][]string{inGo, inPython} {
		dice.Shuffle(len(names), func(i, j int) { names[i], names[j] = names[j], names[i] })
	}
	if few {
		inGo, inPython = inGo[:5], inPython[:2]
	}
	// The panes say most, and so does a worker that dies.
	for _, name := range append(inGo, "panes", "workerkill") {
		t.Run("go "+name, func(t *testing.T) {
			env := Loopback
			if name == "workerkill" {
				env = Process
			}
			marker := filepath.Join(t.TempDir(), "marker")
			wantAll(t, 1, runGo(t, s, env, name, append(d.options, "--marker="+marker)...))
		})
	}
	for _, name := range inPython {
		t.Run("python "+name, func(t *testing.T) {
			args := append(portable(s), fmt.Sprint("--sdk_worker_parallelism=", d.parallelism))
			wantAll(t, 1, runPython(t, name, append(args, d.options...)...))
		})
	}
}
