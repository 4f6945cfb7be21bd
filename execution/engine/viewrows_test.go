package engine

import (
	"fmt"
	"maps"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/gorunner/gorunner/element"
	"github.com/gorunner/gorunner/execution/harness"
	"github.com/gorunner/gorunner/execution/journal"
	"github.com/gorunner/gorunner/plan"
	"github.com/gorunner/gorunner/state"
)

// lastingPlan has a stage that reads a complete edge and a view that is shown.
func lastingPlan() *plan.Plan {
	p := shownPlan()
	complete := *p.Edges[0]
	complete.ID = 2
	p.Edges = append(p.Edges, &complete)
	p.Stages[0].Outputs = append(p.Stages[0].Outputs, plan.Output{Edge: 2})
	p.Stages[2].SideInputs = append(p.Stages[2].SideInputs, plan.SideInput{Edge: 2, Transform: "t", Tag: "complete", Access: plan.AccessIterable})
	return p
}

// Whenever a process ends, the next one finds the side inputs as they were at a
// commit, under names that SDKs have nothing of.
func TestSideInputsOutliveTheProcess(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		j := &simJournal{rows: simRows{}, disk: &simDisk{}}
		p := lastingPlan()
		epoch := uint64(0)
		var v *views
		restart := func() {
			m, err := j.rows.image(j.disk.at)
			if err != nil {
				t.Fatal(err)
			}
			epoch++
			v = newViews(p, account(), epoch)
			v.last()
			v.restore(m)
		}
		restart()
		stored := func(data []byte) element.Chunk {
			if rapid.Bool().Draw(t, "in its row") {
				return element.Chunk{Data: data}
			}
			s, err := j.disk.Store(data)
			if err != nil {
				t.Fatal(err)
			}
			if rapid.Bool().Draw(t, "in memory") {
				return element.Chunk{Data: data, Stored: s}
			}
			return element.Chunk{Stored: s}
		}
		next := 0
		value := func() string {
			next++
			return string(pair("k", fmt.Sprint(next)))
		}
		shown := map[string]string{}
		names := rapid.SampledFrom([]string{"a", "b", "c"})
		tokens := map[string]uint64{}
		t.Repeat(map[string]func(*rapid.T){
			"add": func(*rapid.T) {
				b := viewed(t, windowed(1, [][]byte{window(10)}, []byte(value())))
				c := stored(b.Data)
				b.Data, b.Stored = c.Data, c.Stored
				v.add(2, []element.Block{b})
			},
			"show": func(t *rapid.T) {
				var all []shownWindow
				for _, w := range rapid.SliceOfNDistinct(names, 1, 3, rapid.ID).Draw(t, "windows") {
					one, two := value(), value()
					shown[w] = one + two
					all = append(all, shownWindow{window: []byte(w), count: 2, chunks: []element.Chunk{stored([]byte(one)), stored([]byte(two))}})
				}
				v.show(1, all)
			},
			"forget": func(t *rapid.T) {
				w := names.Draw(t, "window")
				delete(shown, w)
				v.forget(1, []string{w})
			},
			"restart": func(t *rapid.T) {
				c := &journal.Commit{}
				v.changes(c)
				changes, err := c.Changes()
				if err == nil {
					err = changes.Apply(j.rows)
				}
				if err != nil {
					t.Fatal(err)
				}
				if v.changes(c); len(c.Side)+len(c.Shown)+len(c.SideDone) != changes.Len() {
					t.Fatal("something has changed since")
				}
				restart()
			},
			"": func(t *rapid.T) {
				b := &bundleState{sides: v.open(p.Stages[2]), txn: state.NewMemory().Begin(), stage: p.Stages[2]}
				defer b.end()
				for _, token := range b.tokens() {
					if had := tokens[string(token)]; had != 0 && had != epoch {
						t.Fatalf("token %s is of epoch %d and of epoch %d", token, had, epoch)
					}
					tokens[string(token)] = epoch
				}
				got := map[string]string{}
				for _, w := range []string{"a", "b", "c"} {
					if s := read(t, b, harness.SideInputKey{Transform: "t", Tag: "list", Window: []byte(w), Part: harness.PartIterable}); s != "" {
						got[w] = s
					}
				}
				if diff := cmp.Diff(shown, got); diff != "" {
					t.Fatalf("shown (-want +got):\n%s", diff)
				}
			},
		})
		restart() // what was not committed may be there or not
		v.stageFinished(2)
		c := &journal.Commit{}
		v.changes(c)
		changes, err := c.Changes()
		if err == nil {
			err = changes.Apply(j.rows)
		}
		if err != nil || len(j.rows) > 0 {
			t.Fatalf("nobody reads, and there is left, error %v: %q", err, slices.Collect(maps.Keys(j.rows)))
		}
	})
}

// What is complete is read when all of it was written, in another process perhaps.
func TestCompleteSideInputsOutliveTheProcess(t *testing.T) {
	j := &simJournal{rows: simRows{}, disk: &simDisk{}}
	p := lastingPlan()
	want := ""
	for epoch := range uint64(4) {
		m, err := j.rows.image(j.disk.at)
		if err != nil {
			t.Fatal(err)
		}
		v := newViews(p, account(), epoch+1)
		v.last()
		v.restore(m)
		if epoch == 3 {
			b := &bundleState{sides: v.open(p.Stages[2]), txn: state.NewMemory().Begin(), stage: p.Stages[2]}
			key := harness.SideInputKey{Transform: "t", Tag: "complete", Window: window(10), Part: harness.PartIterable}
			if got := read(t, b, key); got != want {
				t.Errorf("got %q, want %q", got, want)
			}
			break
		}
		for i := range 3 {
			one := string(pair("k", fmt.Sprint(epoch, i)))
			want += one
			b := viewed(t, windowed(1, [][]byte{window(10)}, []byte(one)))
			if i > 0 {
				if b.Stored, err = j.disk.Store(b.Data); err != nil {
					t.Fatal(err)
				}
			}
			v.add(2, []element.Block{b})
		}
		c := &journal.Commit{}
		v.changes(c)
		changes, err := c.Changes()
		if err == nil {
			err = changes.Apply(j.rows)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}
