package engine

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"sync"
	"testing"

	"github.com/gorunner/gorunner/element"
	"github.com/gorunner/gorunner/execution/journal"
	"github.com/gorunner/gorunner/plan"
)

// lettersOfLives are by number. The first element that is kept is parked; when that
// is committed, the next is kept and the process suspended.
type lettersOfLives struct {
	committed chan struct{} // closed when one has been
	suspend   context.CancelCauseFunc

	mu   sync.Mutex
	kept map[element.Number]string // guarded by mu
}

func (l *lettersOfLives) Keep(_ context.Context, d *DeadLetter) (string, error) {
	if !d.Parked {
		return "there", nil
	}
	l.mu.Lock()
	l.kept[d.Number] = d.Stage.Name
	first := len(l.kept) == 1
	l.mu.Unlock()
	if first {
		return "there", nil
	}
	<-l.committed
	l.suspend(ErrSuspended)
	return "", ErrSuspended
}

func (l *lettersOfLives) Retract(_ context.Context, retracted func(element.Number) bool) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	maps.DeleteFunc(l.kept, func(n element.Number, _ string) bool { return retracted(n) })
	return nil
}

// suspendedParking is a job whose process has ended with one element parked, and more
// kept that are not.
func suspendedParking(t *testing.T) (*simPlan, *lettersOfLives, *memJournal) {
	t.Helper()
	p := poisonedPlan(t)
	for i, s := range p.plan.Stages {
		if k, ok := s.Kind.(*plan.Executable); ok {
			k.Transforms = []plan.Transform{{ID: plan.TransformID(fmt.Sprint("t", i)), Name: "t", URN: "test"}}
		}
	}
	ctx, suspend := context.WithCancelCause(t.Context())
	l := &lettersOfLives{committed: make(chan struct{}), suspend: suspend, kept: map[element.Number]string{}}
	j, rows := newMemJournal(1), &memRows{simRows: simRows{}}
	j.ending = func(seq journal.Seq) bool {
		for _, m := range j.commits[seq-j.first].Metrics {
			if m.Labels["NAME"] == putAsideName {
				close(l.committed)
			}
		}
		return false
	}
	err := New(p.plan, Options{Host: poisonHost(p, false), DeadLetters: l, ParkPoison: true, Journal: j}).Run(ctx)
	if !errors.Is(err, ErrSuspended) || len(l.kept) < 2 {
		t.Fatalf("%v with %v", err, l.kept)
	}
	if err := j.Wait(t.Context(), j.Last()); err != nil {
		t.Fatal(err)
	}
	j.ending = nil
	if j, err = j.next(rows); err != nil {
		t.Fatal(err)
	}
	return p, l, j
}

// TestLettersOfElementsThatWereNotParked: the next process tries these again, and
// they succeed.
func TestLettersOfElementsThatWereNotParked(t *testing.T) {
	p, l, j := suspendedParking(t)
	job := New(p.plan, Options{Host: &fakeHost{plan: p}, DeadLetters: l, ParkPoison: true, Journal: j})
	if err := job.Run(t.Context()); err != nil {
		t.Fatal(err)
	}
	if len(l.kept) != 1 {
		t.Errorf("kept are %v, want the one that was parked", l.kept)
	}
}

// TestParkedCountOutlivesTheProcess: the bound of a stage is that of a job, not of a
// process.
func TestParkedCountOutlivesTheProcess(t *testing.T) {
	p, l, j := suspendedParking(t)
	d := newDriver(p.plan, Options{DeadLetters: l, ParkPoison: true, Journal: j})
	d.retract(t.Context(), d.image)
	if _, err := d.start(); err != nil {
		t.Fatal(err)
	}
	got, want := map[string]int{}, map[string]int{}
	for _, st := range d.sched.stages {
		if st.parked > 0 {
			got[st.Name] = st.parked
		}
	}
	for name := range maps.Values(l.kept) {
		want[name]++
	}
	if !maps.Equal(got, want) || len(want) != 1 {
		t.Errorf("parked by stage: %v, want %v", got, want)
	}
}
