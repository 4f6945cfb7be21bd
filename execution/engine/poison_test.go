package engine

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"maps"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/gorunner/gorunner/element"
	"github.com/gorunner/gorunner/execution/harness"
	"github.com/gorunner/gorunner/plan"
	"github.com/gorunner/gorunner/shuffle"
)

var errLetter = errors.New("no letter is kept")

// lettersKept counts what it gets, by stage and value.
type lettersKept struct {
	mu   sync.Mutex
	kept map[string]int
	last []*DeadLetter // not parked
	err  error
}

func (l *lettersKept) Keep(_ context.Context, d *DeadLetter) (string, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !d.Parked {
		l.last = append(l.last, d)
		return "there", l.err
	}
	elements := 0
	for i := range d.Input {
		elements += d.Input[i].Count
		if err := eachValue(d.Layout, d.Input, func(v []byte) { l.kept[fmt.Sprintf("%s %x", d.Stage.Name, v)]++ }); err != nil {
			return "", err
		}
	}
	if elements != 1 {
		return "", fmt.Errorf("%d elements parked at once", elements)
	}
	return "there", l.err
}

func (l *lettersKept) Retract(context.Context, func(element.Number) bool) error { return nil }

func eachValue(l *shuffle.Layout, blocks []element.Block, f func([]byte)) error {
	for i := range blocks {
		for data := blocks[i].Data; len(data) > 0; {
			e, err := l.Cut(data)
			if err != nil {
				return err
			}
			f(e.Value)
			data = data[e.Size:]
		}
	}
	return nil
}

func poisonous(v []byte) bool {
	h := fnv.New32()
	h.Write(v)
	return h.Sum32()%13 == 0
}

// poisonHost fails bundles of terminal stages that have poisonous elements, and
// kills their workers besides if it is told to.
func poisonHost(p *simPlan, kills bool) *fakeHost {
	return &fakeHost{plan: p, before: func(w *fakeWorker, b *harness.Bundle) error {
		if !takesPoison(p, b.Stage) {
			return nil
		}
		found := false
		err := eachValue(w.layout(b.Stage), b.Input, func(v []byte) { found = found || poisonous(v) })
		if err == nil && found {
			err = errSim
			if kills {
				w.die()
				err = harness.ErrWorkerLost
			}
		}
		return err
	}}
}

// takesPoison says whether elements of the stage may be parked, and are.
func takesPoison(p *simPlan, s *plan.Stage) bool {
	if _, user := s.Kind.(*plan.Executable); !user || len(s.Outputs) > 0 {
		return false
	}
	for _, up := range p.plan.Stages {
		for _, out := range up.Outputs {
			if _, impulse := up.Kind.(*plan.Impulse); impulse && out.Edge == s.Input.Edge {
				return false
			}
		}
	}
	return true
}

// TestPoisonIsParked: of each terminal stage just the poisonous elements are parked,
// and all others are executed and committed.
func TestPoisonIsParked(t *testing.T) {
	parked := 0
	for seed := range uint64(40) {
		p := randomPlan(seed)
		letters := &lettersKept{kept: map[string]int{}}
		var events parkings
		kills, attempts := seed%4 == 3, 2
		if kills {
			attempts = 20 // of a source, too, that has nothing to do with it
		}
		job := New(p.plan, Options{
			Host: poisonHost(p, kills), ParkPoison: true, DeadLetters: letters, Listener: &events, MaxParked: 1e6,
			MaxWorkerRestarts: 1e6, RestartDelay: time.Microsecond, RestartDelayMax: time.Microsecond, MaxAttempts: attempts,
		})
		if err := job.Run(t.Context()); err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
		want := map[string]int{}
		expect := p.expect(nil)
		for i, s := range p.plan.Stages {
			if !takesPoison(p, s) {
				continue
			}
			var in int64
			for v, n := range expect[s.Input.Edge] {
				if poisonous([]byte(v)) {
					want[fmt.Sprintf("%s %x", s.Name, v)] += n
				} else {
					in += int64(n)
				}
			}
			if st := job.Status().Stages[i]; !st.Done || st.ElementsIn != in {
				t.Errorf("seed %d: stage %s: %+v, want done with %d elements", seed, s.Name, st, in)
			}
		}
		if diff := cmp.Diff(want, letters.kept); diff != "" {
			t.Fatalf("seed %d: %s", seed, diff)
		}
		for n := range maps.Values(want) {
			parked += n
			events.n -= n
		}
		if events.n != 0 {
			t.Errorf("seed %d: told of %d more elements than were parked", seed, events.n)
		}
	}
	if parked == 0 {
		t.Error("nothing was parked")
	}
}

// parkings counts what it is told of; the job's own goroutine does.
type parkings struct{ n int }

func (p *parkings) Event(e Event) {
	if _, ok := e.(ElementParked); ok {
		p.n++
	}
}

// poisonedPlan is one with poison.
func poisonedPlan(t *testing.T) *simPlan {
	t.Helper()
	for seed := range uint64(100) {
		p := randomPlan(seed)
		expect := p.expect(nil)
		for _, s := range p.plan.Stages {
			if !takesPoison(p, s) {
				continue
			}
			n := 0
			for v := range expect[s.Input.Edge] {
				if poisonous([]byte(v)) {
					n++
				}
			}
			if n > 1 {
				return p
			}
		}
	}
	t.Fatal("no plan has poison")
	return nil
}

// TestPoisonFailsTheJob: where nobody asked for more, with the input that was to
// blame in somebody's hands; and beyond the limit.
func TestPoisonFailsTheJob(t *testing.T) {
	p := poisonedPlan(t)
	letters := &lettersKept{kept: map[string]int{}}
	err := New(p.plan, Options{Host: poisonHost(p, false), DeadLetters: letters}).Run(t.Context())
	var failure *BundleError
	if !errors.As(err, &failure) || failure.Kept != "there" || len(letters.last) != 1 || len(letters.last[0].Input) == 0 || letters.last[0].Attempts != 4 {
		t.Errorf("%v kept in %+v", err, letters)
	}
	letters = &lettersKept{kept: map[string]int{}}
	err = New(p.plan, Options{Host: poisonHost(p, false), DeadLetters: letters, ParkPoison: true, MaxParked: 1}).Run(t.Context())
	if !errors.As(err, &failure) || len(letters.last) != 1 || countOf(letters.last[0].Input) != 1 {
		t.Errorf("%v kept in %+v", err, letters)
	}
}

// TestPoisonThatCannotBeKeptFailsTheJob: an element is not lost in silence.
func TestPoisonThatCannotBeKeptFailsTheJob(t *testing.T) {
	p := poisonedPlan(t)
	letters := &lettersKept{kept: map[string]int{}, err: errLetter}
	err := New(p.plan, Options{Host: poisonHost(p, false), DeadLetters: letters, ParkPoison: true}).Run(t.Context())
	if !errors.Is(err, errLetter) {
		t.Errorf("got %v", err)
	}
}
