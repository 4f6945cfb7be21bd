//go:build linux

package chaos

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"time"
)

// Victim is who is killed.
type Victim int

// The victims. A Relapse is a runner that is killed again while it comes back.
const (
	TheRunner Victim = iota
	AWorker
	Everybody
	Relapse
)

// String names the victim.
func (v Victim) String() string {
	switch v {
	case TheRunner:
		return "runner"
	case AWorker:
		return "worker"
	case Everybody:
		return "runner+workers"
	case Relapse:
		return "runner twice"
	}
	return fmt.Sprintf("Victim(%d)", int(v))
}

// ParseVictims reads the names of victims, separated by commas.
func ParseVictims(text string) ([]Victim, error) {
	var victims []Victim
	for name := range strings.SplitSeq(text, ",") {
		all := []Victim{TheRunner, AWorker, Everybody, Relapse}
		i := slices.IndexFunc(all, func(v Victim) bool { return v.String() == name })
		if i < 0 {
			return nil, fmt.Errorf("victim %q is none of %v", name, all)
		}
		victims = append(victims, all[i])
	}
	return victims, nil
}

// Kill is a death at some moment.
type Kill struct {
	Victim Victim
	// At is the progress at which it happens.
	At int64
	// Die is a number for whoever has a choice left, such as among the workers.
	Die uint64
}

// String says whom and when.
func (k Kill) String() string { return fmt.Sprintf("%v at %d", k.Victim, k.At) }

// Draw draws the deaths of a run that makes so much progress.
func Draw(dice *rand.Rand, victims []Victim, n int, progress int64) []Kill {
	kills := make([]Kill, n)
	for i := range kills {
		kills[i] = Kill{Victim: victims[dice.IntN(len(victims))], At: dice.Int64N(max(progress, 1)), Die: dice.Uint64()}
	}
	slices.SortFunc(kills, func(a, b Kill) int { return int(a.At - b.At) })
	return kills
}

// relapseMax is how long a runner lives that is killed while it comes back.
const relapseMax = 700 * time.Millisecond

// Pause is how long the runner of a relapse lives.
func (k Kill) Pause() time.Duration { return time.Duration(k.Die % uint64(relapseMax)) }
