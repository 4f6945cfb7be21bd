package engine

import (
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/gorunner/gorunner/coder"
	"github.com/gorunner/gorunner/element"
	"github.com/gorunner/gorunner/plan"
)

// forkedPlan has one stage with two outputs: "keyed" has a keyed consumer and
// is a side input, "plain" has an unkeyed consumer.
func forkedPlan() *plan.Plan {
	bytes := coder.Must(coder.Bytes)
	reader := func(id plan.StageID, edge plan.EdgeID, keyed bool) *plan.Stage {
		return &plan.Stage{ID: id, Kind: &plan.Executable{}, Input: &plan.Input{Edge: edge, Keyed: keyed}}
	}
	p := &plan.Plan{
		KeyGroups: 4,
		Edges: []*plan.Edge{
			{ID: 0, Name: "keyed", Value: coder.Must(coder.KV, bytes, bytes), Windowing: global()},
			{ID: 1, Name: "plain", Value: bytes, Windowing: global()},
		},
		Stages: []*plan.Stage{
			{ID: 0, Name: "fork", Kind: &plan.Impulse{}, Outputs: []plan.Output{{Edge: 0}, {Edge: 1}}},
			reader(1, 0, true), reader(2, 1, false),
		},
	}
	p.Stages[2].SideInputs = []plan.SideInput{{Edge: 0}}
	return p
}

// count is what a block list holds.
func count(blocks ...element.Block) (elements, bytes int) {
	for _, b := range blocks {
		elements += b.Count
		bytes += len(b.Data)
	}
	return elements, bytes
}

func TestCollector(t *testing.T) {
	pipe := newPipes(forkedPlan())[0]
	c := newCollector(pipe)
	keyed := windowed(1, nil, pair("k", "v"))
	plain := windowed(2, nil, text("plain"))
	// The outputs of a bundle come in from different goroutines.
	var wg sync.WaitGroup
	const n = 100
	for i, e := range [][]byte{keyed, plain} {
		wg.Go(func() {
			for range n {
				if err := c.Write(i, e[:5]); err != nil {
					t.Error(err)
				}
				if err := c.Write(i, e[5:]); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	if err := c.writeBlock(1, element.Block{Data: plain, Count: 1}); err != nil {
		t.Fatal(err)
	}
	outputs, _, err := c.close()
	if err != nil {
		t.Fatal(err)
	}
	bytes := n*len(keyed) + (n+1)*len(plain)
	if e, b := pipe.elements.Load(), pipe.bytes.Load(); e != 2*n+1 || b != int64(bytes) {
		t.Errorf("counted %d elements, %d bytes, want %d, %d", e, b, 2*n+1, bytes)
	}
	// A keyed consumer and a view each have all elements; the other form is
	// made for nobody.
	for name, blocks := range map[string][]element.Block{"groups": slices.Concat(outputs[0].Keyed...), "view": outputs[0].Plain} {
		if elements, size := count(blocks...); elements != n || size != n*len(keyed) {
			t.Errorf("%s: got %d elements, %d bytes, want %d, %d", name, elements, size, n, n*len(keyed))
		}
	}
	if elements, _ := count(outputs[1].Plain...); elements != n+1 || outputs[1].Keyed != nil {
		t.Errorf("plain output: got %d elements, groups %v, want %d and none", elements, outputs[1].Keyed, n+1)
	}
}

// TestCollectorAbandon shows that what a failed bundle has written leaves the
// counts, whichever way it failed, and what others have written stays.
func TestCollectorAbandon(t *testing.T) {
	pipe := newPipes(forkedPlan())[0]
	plain := windowed(2, nil, text("plain"))
	other := newCollector(pipe)
	if err := other.Write(1, plain); err != nil {
		t.Fatal(err)
	}
	failures := map[string]func(c *collector) error{
		"before its end": func(*collector) error { return errSim },
		"by its split": func(c *collector) error {
			c.fail(errSim)
			_, _, err := c.close()
			return err
		},
		"by the end of an output": func(c *collector) error {
			if err := c.Write(1, plain[:3]); err != nil {
				return err
			}
			_, _, err := c.close()
			return err
		},
		"by an output": func(c *collector) error { return c.Write(0, slices.Concat(windowed(0, nil, pair("k", "v")), broken())) },
	}
	for name, failure := range failures {
		c := newCollector(pipe)
		for range 3 {
			if err := c.Write(1, plain); err != nil {
				t.Fatal(err)
			}
		}
		if err := failure(c); err == nil {
			t.Errorf("%s: no error", name)
		}
		c.abandon()
		if e, b := pipe.elements.Load(), pipe.bytes.Load(); e != 1 || b != int64(len(plain)) {
			t.Errorf("%s: %d elements, %d bytes are counted, want those of the other bundle", name, e, b)
		}
	}
}

// broken is an element whose pane byte announces what there is not.
func broken() []byte {
	e := windowed(0, nil, pair("k", "v"))
	e[12] = 0x70
	return e
}

func TestCollectorErrors(t *testing.T) {
	c := newCollector(newPipes(forkedPlan())[0])
	for _, out := range []int{-1, 2} {
		if err := c.Write(out, windowed(0, nil, text("x"))); err == nil {
			t.Errorf("output %d: no error", out)
		}
	}
	check := func(name string, err error, cause error) {
		t.Helper()
		if !errors.Is(err, cause) || !strings.Contains(err.Error(), "output keyed") {
			t.Errorf("%s: got error %v, want one that names the output and wraps %v", name, err, cause)
		}
	}
	check("broken element", c.Write(0, broken()), coder.ErrMalformed)
	check("broken block", c.writeBlock(0, element.Block{Data: broken(), Count: 1}), coder.ErrMalformed)
	c = newCollector(newPipes(forkedPlan())[0])
	if err := c.Write(0, windowed(0, nil, pair("k", "v"))[:15]); err != nil {
		t.Fatal(err)
	}
	_, _, err := c.close()
	check("end within an element", err, coder.ErrShort)
	c = newCollector(newPipes(forkedPlan())[0])
	c.fail(errSim)
	if _, _, err := c.close(); !errors.Is(err, errSim) {
		t.Errorf("close after a failure: got error %v, want %v", err, errSim)
	}
}
