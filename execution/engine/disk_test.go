package engine

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gorunner/gorunner/coder"
	"github.com/gorunner/gorunner/element"
	"github.com/gorunner/gorunner/execution/harness"
	"github.com/gorunner/gorunner/plan"
	"github.com/gorunner/gorunner/shuffle"
)

// fakeDisk keeps what is stored in memory, as long as something refers to it.
type fakeDisk struct {
	// fails says whether to fail; nil never.
	fails          func() bool
	quota          *shuffle.Account // nil is none
	limit          int64
	stored, loaded atomic.Int64
}

func (d *fakeDisk) Store(parts ...[]byte) (element.Stored, error) {
	data := bytes.Join(parts, nil)
	if d.fails != nil && d.fails() {
		return nil, fmt.Errorf("%w: no space left", shuffle.ErrDisk)
	}
	if total := d.stored.Add(int64(len(data))); d.limit > 0 && total > d.limit {
		return nil, fmt.Errorf("%w: more than the quota of %d bytes", shuffle.ErrDisk, d.limit)
	}
	if d.quota != nil {
		d.quota.Add(int64(len(data)))
	}
	return &fakeStored{d, data}, nil
}

type fakeStored struct {
	disk *fakeDisk
	data []byte
}

func (s *fakeStored) Size() int { return len(s.data) }

func (s *fakeStored) Place() (element.Place, error) {
	return element.Place{Size: uint32(len(s.data))}, nil
}

func (s *fakeStored) Load() ([]byte, error) {
	s.disk.loaded.Add(1)
	if s.disk.fails != nil && s.disk.fails() {
		return nil, fmt.Errorf("%w: checksum", shuffle.ErrDisk)
	}
	return bytes.Clone(s.data), nil
}

// checkReleased says whether a job that has ended holds nothing.
func checkReleased(j *Job) error {
	usage := j.impl.opts.Memory.Usage()
	for _, use := range []string{"queues", "timers", "output", "running", "state"} {
		if n := usage[use]; n != 0 {
			return fmt.Errorf("the job has ended and holds %v", usage)
		}
	}
	return nil
}

func TestLoad(t *testing.T) {
	d := &fakeDisk{}
	stored, err := d.Store([]byte("two"))
	if err != nil {
		t.Fatal(err)
	}
	input := []element.Block{{Data: []byte("one"), Count: 1}, {Stored: stored, Count: 2}}
	loaded, n, err := load(input)
	if err != nil || n != 3 || string(loaded[0].Data) != "one" || string(loaded[1].Data) != "two" || loaded[1].Count != 2 {
		t.Errorf("loaded %d bytes, %+v, %v", n, loaded, err)
	}
	if input[1].Data != nil || input[1].Stored == nil {
		t.Error("a retry would not find the input on disk")
	}
	if got, n, err := load(loaded); err != nil || n != 0 || &got[0] != &loaded[0] {
		t.Errorf("what is in memory was loaded: %d bytes, %v", n, err)
	}
}

func TestAccountsFollowCollectors(t *testing.T) {
	p := newPipes(forkedPlan())[0]
	budget := shuffle.NewBudget(nil, 0)
	p.account = budget.Account("output")
	c, other := newCollector(p), newCollector(p)
	for _, c := range []*collector{c, other} {
		if err := c.Write(0, windowed(0, nil, pair("k", "v"))); err != nil {
			t.Fatal(err)
		}
	}
	both := budget.Used()
	if both < 20 {
		t.Errorf("two collectors with an element each take %d bytes", both)
	}
	c.release()
	if got := budget.Used(); got != both/2 {
		t.Errorf("after one of them is released, %d of %d bytes are in use", got, both)
	}
	other.release()
	other.release()
	if usage := budget.Usage(); !maps.Equal(usage, map[string]int64{"output": 0}) {
		t.Errorf("after both are, %v", usage)
	}
}

// bulkPlan is a source of n elements of a KiB that a keyed stage and a grouping
// read.
func bulkPlan(n int) *simPlan {
	bytes := coder.Must(coder.Bytes)
	kv := coder.Must(coder.KV, bytes, bytes)
	p := &plan.Plan{KeyGroups: 4, Environments: []plan.EnvironmentID{"a"}}
	edges := []*coder.Coder{bytes, kv, kv, coder.Must(coder.KV, bytes, coder.Must(coder.Iterable, bytes))}
	for i, c := range edges {
		p.Edges = append(p.Edges, &plan.Edge{ID: plan.EdgeID(i), Name: fmt.Sprintf("e%d", i), Value: c, Windowing: global(), Bounded: true})
	}
	user := &plan.Executable{Environment: "a", Transforms: []plan.Transform{{ID: "t", Name: "t", URN: "test"}}}
	in := func(e plan.EdgeID, port plan.TransformID, keyed bool) *plan.Input {
		return &plan.Input{Edge: e, Port: port, Keyed: keyed}
	}
	out := func(e plan.EdgeID, port plan.TransformID) []plan.Output { return []plan.Output{{Edge: e, Port: port}} }
	p.Stages = []*plan.Stage{
		{ID: 0, Name: "impulse", Kind: &plan.Impulse{}, Outputs: out(0, "")},
		{ID: 1, Name: "source", Kind: user, Input: in(0, "in", false), Outputs: out(1, "out")},
		{ID: 2, Name: "keyed", Kind: user, Input: in(1, "in", true), Outputs: out(2, "out")},
		{ID: 3, Name: "group", Kind: &plan.GroupByKey{Windowing: global(), Key: bytes, Value: bytes}, Input: in(2, "", true), Outputs: out(3, "")},
		{ID: 4, Name: "sink", Kind: user, Input: in(3, "in", false)},
	}
	padding := strings.Repeat("x", 100)
	emit := func([]byte) (all [][]byte) {
		for i := range n {
			all = append(all, pair(strconv.Itoa(i%50), padding+strconv.Itoa(i)))
		}
		return all
	}
	same := func(v []byte) [][]byte { return [][]byte{v} }
	return &simPlan{plan: p, ops: []simOp{nil, emit, same, nil, func([]byte) [][]byte { return nil }}}
}

func TestMemoryIsBounded(t *testing.T) {
	const limit, elements, open = 400_000, 20_000, 300_000
	var most atomic.Int64
	budget := shuffle.NewBudget(nil, limit)
	disk := &fakeDisk{}
	watch := func(*fakeWorker, *harness.Bundle) error {
		for used := budget.Used(); used > most.Load(); {
			most.Store(used)
		}
		return nil
	}
	p := bulkPlan(elements)
	job := New(p.plan, Options{Host: &fakeHost{plan: p, before: watch}, Memory: budget, Disk: disk, SplitInterval: time.Hour})
	job.impl.spill.OpenBytes = open
	if err := job.Run(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := checkReleased(job); err != nil {
		t.Error(err)
	}
	stages := job.Status().Stages
	if got := stages[3].ElementsIn; got != elements {
		t.Errorf("%d elements were grouped, want %d", got, elements)
	}
	if in := stages[4].BytesIn; in < 5*limit || disk.stored.Load() < 2*in-2*limit {
		t.Errorf("of %d bytes that were stored twice only %d went to disk", in, disk.stored.Load())
	}
	if most.Load() < limit || most.Load() > limit+2*open {
		t.Errorf("at most %d bytes were in memory, of %d", most.Load(), limit)
	}
}

func TestQuotaFailsTheJob(t *testing.T) {
	p := bulkPlan(20_000)
	disk := &fakeDisk{limit: 1_000_000}
	h := &fakeHost{plan: p}
	_, err := run(t, h, Options{Memory: shuffle.NewBudget(nil, 100_000), Disk: disk})
	var failed *BundleError
	if !errors.Is(err, shuffle.ErrDisk) || !errors.As(err, &failed) || failed.Attempts != 1 || !strings.Contains(err.Error(), "quota of 1000000") {
		t.Errorf("the job ended with %v", err)
	}
}

// What lies on disk and is read by a state request fails the job too, though an
// SDK stands between the two that does not know the error.
func TestDiskFailsTheJobThroughAnSDK(t *testing.T) {
	broken := &fakeDisk{fails: func() bool { return true }}
	b := element.Block{Pages: []*element.Page{{Token: "a", Chunks: []element.Chunk{{Stored: &fakeStored{disk: broken}}}}}}
	p := bulkPlan(1)
	h := &fakeHost{plan: p, before: func(_ *fakeWorker, hb *harness.Bundle) error {
		st, ok := hb.State.(*bundleState)
		if !ok || hb.Stage.ID != 4 {
			return nil
		}
		st.input = []element.Block{b}
		_, _, err := st.Get(t.Context(), harness.PageKey{Token: "a"}, nil)
		return fmt.Errorf("the SDK said: %v", err) //nolint:errorlint // an SDK returns text
	}}
	_, err := run(t, h, Options{})
	var failed *BundleError
	if !errors.Is(err, shuffle.ErrDisk) || !errors.As(err, &failed) || failed.Attempts != 1 {
		t.Errorf("the job ended with %v", err)
	}
}

// The memory of a grouping's input is its own unless somebody else reads the edge.
func TestConsumes(t *testing.T) {
	tests := []struct {
		name   string
		change func(p *plan.Plan, grouping *plan.Stage)
		want   bool
	}{
		{"alone", func(*plan.Plan, *plan.Stage) {}, true},
		{"streaming", func(_ *plan.Plan, s *plan.Stage) { s.Kind = &plan.GroupByKey{Streaming: true} }, false},
		{"executed by an SDK", func(_ *plan.Plan, s *plan.Stage) { s.Kind = &plan.Executable{} }, false},
		{"not keyed", func(_ *plan.Plan, s *plan.Stage) { s.Input.Keyed = false }, false},
		{"with another reader", func(p *plan.Plan, _ *plan.Stage) { p.Stages[2].Input.Edge = 0 }, false},
		{"with a reader of a side input", func(p *plan.Plan, _ *plan.Stage) {
			p.Stages[2].SideInputs = []plan.SideInput{{Edge: 0}}
		}, false},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			p := forkedPlan()
			p.Stages[2].SideInputs = nil
			p.Stages[1].Kind = &plan.GroupByKey{}
			test.change(p, p.Stages[1])
			if got := consumes(p, p.Stages[1]); got != test.want {
				t.Errorf("got %v, want %v", got, test.want)
			}
		})
	}
}
