package engine

import (
	"slices"
	"testing"
	"time"

	"github.com/gorunner/gorunner/coder"
	"github.com/gorunner/gorunner/element"
	"github.com/gorunner/gorunner/execution/harness"
	"github.com/gorunner/gorunner/plan"
	"github.com/gorunner/gorunner/shuffle"
)

// makespan simulates the execution of a stage, element by element, on a machine
// that is as fast with so many bundles at a time as it says.
type makespan struct {
	elements int
	// each is the time that one element takes.
	each time.Duration
	// block is the number of elements in each block of the input.
	block int
	slots int
	cores int
	// useful is how many bundles at a time go on at full speed. With more each is
	// slower.
	useful int
	// sleeps says that elements take time, but no core.
	sleeps bool
	// pieces says that the elements can be split themselves.
	pieces bool
}

// spanBundle is a bundle of equal elements, done so far.
type spanBundle struct {
	total, done time.Duration
	asked       *splitBundle
}

// run returns the time that all takes, and the most bundles at a time.
func (m makespan) run(t *testing.T) (took time.Duration, most int) {
	t.Helper()
	const tickTime = 10 * time.Millisecond
	kv := coder.Must(coder.Bytes)
	p := &plan.Plan{KeyGroups: 1, Environments: []plan.EnvironmentID{"go"}}
	p.Edges = []*plan.Edge{{Name: "e", Value: kv, Windowing: global(), Bounded: true}}
	p.Stages = []*plan.Stage{
		{Name: "i", Kind: &plan.Impulse{}, Outputs: []plan.Output{{}}},
		{ID: 1, Name: "a", Kind: &plan.Executable{Environment: "go", Splittable: m.pieces}, Input: &plan.Input{}},
	}
	s := newScheduler(p, config{
		workers: 1, slots: m.cores, maxAttempts: 1, bundleBytes: 32 << 20, bundleTime: 2 * time.Second,
		splitInterval: 500 * time.Millisecond, checkpointInterval: 100 * time.Millisecond, idleInterval: 250 * time.Millisecond,
	})
	running := map[harness.BundleID]*spanBundle{}
	var now, wake time.Duration
	finished, measured := false, false
	obey := func(orders []order) {
		for _, o := range orders {
			switch o := o.(type) {
			case startBundle:
				running[o.id] = &spanBundle{total: time.Duration(countOf(o.input)) * m.each}
			case splitBundle:
				running[o.id].asked = &o
			case wakeAt:
				wake = o.at
			case measureIdle:
				measured = true
			case finishJob:
				finished = true
			case failJob:
				t.Fatal(o.err)
			case startWorker, mapWindows, forgetWindows, stageFinished, bundleRetried, halveWork, parkElement, elementPutAside, workerReplaced, workerMissing:
			}
		}
	}
	obey(s.start())
	obey(s.step(0, workerReady{env: native, id: nativeID, slots: 1}))
	obey(s.step(0, workerReady{env: "go", id: "w", slots: m.slots}))
	var input []element.Block
	for left := m.elements; left > 0; left -= m.block {
		input = append(input, m.blockOf(min(left, m.block)))
	}
	delete(running, 1)
	obey(s.step(0, bundleDone{id: 1, outputs: []shuffle.Output{{Plain: input}}}))
	for !finished {
		if now += tickTime; now > 100*time.Hour {
			t.Fatal("no end in sight")
		}
		busy := len(running)
		most = max(most, busy)
		if m.sleeps {
			busy = 0
		}
		step := tickTime * time.Duration(min(len(running), m.useful)) / time.Duration(max(1, len(running)))
		var ids []harness.BundleID
		for id := range running {
			ids = append(ids, id)
		}
		slices.Sort(ids)
		for _, id := range ids {
			b := running[id]
			b.done += step
			switch {
			case b.asked != nil:
				o := *b.asked
				b.asked = nil
				obey(s.step(now, m.split(b, o)))
			case b.done >= b.total:
				delete(running, id)
				obey(s.step(now, bundleDone{id: id}))
			}
		}
		if measured {
			measured = false
			idle := 1 - float64(min(busy, m.useful))/float64(m.cores)
			obey(s.step(now, idleMeasured{idle: max(0, idle), busy: float64(min(busy, m.useful)), over: s.config.idleInterval}))
		}
		if wake != 0 && wake <= now {
			wake = 0
			obey(s.step(now, tick{}))
		}
	}
	return now, most
}

func (m makespan) blockOf(elements int) element.Block {
	return element.Block{Data: make([]byte, 10*elements), Count: elements, MinTime: element.MinTime}
}

// split keeps a share of the elements that have not begun.
func (m makespan) split(b *spanBundle, o splitBundle) fact {
	total := int64(b.total / m.each)
	begun := int64(b.done/m.each) + 1
	keep := begun + int64(float64(total-begun)*o.fraction)
	if keep >= total {
		return bundleSplit{id: o.id}
	}
	b.total = time.Duration(keep) * m.each
	f := bundleSplit{id: o.id, ok: true, keep: []element.Block{m.blockOf(int(keep))}}
	for left, parts := int(total-keep), o.parts; left > 0; parts-- {
		n := (left + parts - 1) / parts
		f.rest = append(f.rest, residual{block: m.blockOf(n), group: element.Unkeyed})
		left -= n
	}
	return f
}

// TestMakespan bounds what scheduling costs against the shortest time there is.
func TestMakespan(t *testing.T) {
	for _, test := range []struct {
		name   string
		m      makespan
		within time.Duration
	}{
		{"a few slow elements in one block", makespan{elements: 10, each: 10 * time.Second, block: 10, slots: 2, cores: 2, useful: 2}, 61 * time.Second},
		{"slow elements that sleep", makespan{elements: 100, each: 10 * time.Second, block: 1, slots: 32, cores: 2, useful: 100, sleeps: true, pieces: true}, 50 * time.Second},
		{"slow elements that sleep, in one block", makespan{elements: 100, each: 10 * time.Second, block: 100, slots: 32, cores: 2, useful: 100, sleeps: true}, 55 * time.Second},
		{"elements that compute", makespan{elements: 100_000, each: time.Millisecond, block: 1000, slots: 32, cores: 2, useful: 2}, 52 * time.Second},
		{"elements that compute, in one block", makespan{elements: 100_000, each: time.Millisecond, block: 100_000, slots: 32, cores: 2, useful: 2}, 55 * time.Second},
		{"one after the other, whatever cores there are", makespan{elements: 10_000, each: 10 * time.Millisecond, block: 100, slots: 32, cores: 2, useful: 1}, 103 * time.Second},
		{"many cores", makespan{elements: 10_000, each: 100 * time.Millisecond, block: 10, slots: 32, cores: 16, useful: 16}, 66 * time.Second},
	} {
		took, most := test.m.run(t)
		t.Logf("%s: %v, %d at a time", test.name, took, most)
		if took > test.within {
			t.Errorf("%s: took %v, want at most %v", test.name, took, test.within)
		}
		if limit := test.m.useful; limit == 1 && most > 8 {
			t.Errorf("%s: %d bundles at a time", test.name, most)
		}
	}
}
