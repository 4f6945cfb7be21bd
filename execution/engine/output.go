package engine

import (
	"fmt"
	"slices"
	"sync/atomic"

	"github.com/gorunner/gorunner/element"
	"github.com/gorunner/gorunner/plan"
	"github.com/gorunner/gorunner/shuffle"
)

// pipe is what a stage's bundles need to know of its edges, and what they
// have written so far.
type pipe struct {
	// input lays out the main input; nil for a root.
	input *shuffle.Layout
	// windowing is that of the main input.
	windowing *plan.Windowing
	// outputs in the order of the stage's.
	outputs []port
	// families of timers, in the order of the stage's.
	families []timerFamily
	// expires says that windows of the input expire.
	expires bool
	// consumes says that nobody refers to the memory of the main input once a
	// bundle of the stage is committed.
	consumes bool
	// spill says where output lies; nil is in memory. account is what bundles
	// have written and not committed; nil is nobody's.
	spill   *shuffle.Spill
	account *shuffle.Account
	// elements and bytes count what was written, whether committed or not.
	elements, bytes atomic.Int64
}

type port struct {
	layout *shuffle.Layout
	want   shuffle.Partitions
	edge   *plan.Edge
	// recent is what the last bundles have written.
	recent *recent
}

// recent is how many bytes the last two bundles have written to an output. What
// the next will write is about the lesser of them: to expect too much takes
// memory.
type recent struct{ last, before atomic.Int64 }

func (r *recent) add(bytes int64) { r.before.Store(r.last.Swap(bytes)) }
func (r *recent) expected() int64 { return min(r.last.Load(), r.before.Load()) }

// newPipes makes the pipes of all stages and functions.
func newPipes(p *plan.Plan) []*pipe {
	layouts := make([]*shuffle.Layout, len(p.Edges))
	wants := make([]shuffle.Partitions, len(p.Edges))
	for i, e := range p.Edges {
		layouts[i] = shuffle.EdgeLayout(e)
	}
	for _, s := range p.Stages {
		if s.Input != nil {
			want := &wants[s.Input.Edge]
			if s.Input.Keyed {
				want.Groups = p.KeyGroups
				want.Parts = want.Parts || !loads(s)
			} else {
				want.Plain = true
			}
			want.Ends = want.Ends || isPatient(s)
			if k, ok := s.Kind.(*plan.Executable); ok && k.Splittable {
				want.Single = true
			}
		}
		for _, side := range s.SideInputs {
			if side.View == 0 {
				wants[side.Edge].Plain = true
			} else {
				wants[s.Input.Edge].Windows = true
			}
		}
	}
	for _, fn := range p.Functions {
		for _, out := range fn.Outputs {
			// What no stage reads is for the caller.
			if want := &wants[out.Edge]; want.Groups == 0 {
				want.Plain = true
			}
		}
	}
	pipes := make([]*pipe, len(p.Stages)+len(p.Functions))
	for i, s := range slices.Concat(p.Stages, p.Functions) {
		pipes[i] = &pipe{}
		if s.Input != nil {
			pipes[i].input, pipes[i].windowing = layouts[s.Input.Edge], p.Edges[s.Input.Edge].Windowing
		}
		pipes[i].families, pipes[i].expires = timerFamilies(p, s), expires(p, s)
		pipes[i].consumes = consumes(p, s)
		for _, out := range s.Outputs {
			want := wants[out.Edge]
			want.Soon = !loads(s) // see backlogged
			pipes[i].outputs = append(pipes[i].outputs, port{layouts[out.Edge], want, p.Edges[out.Edge], &recent{}})
		}
	}
	return pipes
}

// collector is the uncommitted output of a bundle. It implements
// harness.Output.
type collector struct {
	pipe    *pipe
	writers []*shuffle.Writer
	// counted is what each output has added to the pipe's counts.
	counted []counted
	// all counts what was written to all outputs. When it comes to one of the
	// limits that are not 0, full is called, once.
	all      struct{ elements, bytes atomic.Int64 }
	limit    counted
	full     func()
	reported atomic.Bool
	// resident is what each writer takes of the pipe's account.
	resident []int64

	timers timerCollector
	// shown is what is new in the windows of a view. Only one goroutine of the
	// stage's operator writes it.
	shown   []shownWindow
	failure atomic.Pointer[error]
}

type counted struct{ elements, bytes int64 }

func newCollector(p *pipe) *collector {
	c := &collector{pipe: p, writers: make([]*shuffle.Writer, len(p.outputs)), counted: make([]counted, len(p.outputs)), resident: make([]int64, len(p.outputs))}
	for i, o := range p.outputs {
		want := o.want
		want.Expected = o.recent.expected()
		c.writers[i] = shuffle.NewWriter(o.layout, want, p.spill)
	}
	c.timers.rest = make([][]byte, len(p.families))
	return c
}

// Write takes encoded elements.
func (c *collector) Write(out int, data []byte) error {
	if out < 0 || out >= len(c.writers) {
		return fmt.Errorf("output %d of %d", out, len(c.writers))
	}
	if err := c.writers[out].Write(data); err != nil {
		return fmt.Errorf("output %s: %w", c.pipe.outputs[out].edge.Name, err)
	}
	c.count(out)
	return nil
}

// WriteTimers takes encoded timers.
func (c *collector) WriteTimers(family int, data []byte) error {
	if family < 0 || family >= len(c.pipe.families) {
		return fmt.Errorf("timer family %d of %d", family, len(c.pipe.families))
	}
	return c.timers.write(family, &c.pipe.families[family], data)
}

// writeBlock takes over an immutable block.
func (c *collector) writeBlock(out int, b element.Block) error {
	if err := c.writers[out].WriteBlock(b); err != nil {
		return fmt.Errorf("output %s: %w", c.pipe.outputs[out].edge.Name, err)
	}
	c.count(out)
	return nil
}

func (c *collector) count(out int) {
	elements, bytes := c.writers[out].Written()
	more := counted{elements - c.counted[out].elements, bytes - c.counted[out].bytes}
	c.counted[out] = counted{elements, bytes}
	c.pipe.elements.Add(more.elements)
	c.pipe.bytes.Add(more.bytes)
	c.enter(out, c.writers[out].Resident())
	all := counted{c.all.elements.Add(more.elements), c.all.bytes.Add(more.bytes)}
	over := c.limit.elements > 0 && all.elements >= c.limit.elements || c.limit.bytes > 0 && all.bytes >= c.limit.bytes
	if over && !c.reported.Swap(true) {
		c.full()
	}
}

// fail makes close fail.
func (c *collector) fail(err error) { c.failure.Store(&err) }

// close returns what was written to each output, and to timers.
func (c *collector) close() ([]shuffle.Output, []timerChange, error) {
	if err := c.failure.Load(); err != nil {
		return nil, nil, *err
	}
	outputs := make([]shuffle.Output, len(c.writers))
	for i, w := range c.writers {
		var err error
		if outputs[i], err = w.Close(); err != nil {
			return nil, nil, fmt.Errorf("output %s: %w", c.pipe.outputs[i].edge.Name, err)
		}
		c.count(i)
		c.pipe.outputs[i].recent.add(outputs[i].Bytes)
	}
	timers, err := c.timers.close()
	return outputs, timers, err
}

// enter says what the writer of an output takes.
func (c *collector) enter(out int, resident int64) {
	if c.pipe.account != nil {
		c.pipe.account.Add(resident - c.resident[out])
		c.resident[out] = resident
	}
}

// release takes what was written out of the account: it is others' now, or
// nobody's.
func (c *collector) release() {
	for out := range c.writers {
		c.enter(out, 0)
	}
}

// abandon takes what was written out of the counts.
func (c *collector) abandon() {
	for _, n := range c.counted {
		c.pipe.elements.Add(-n.elements)
		c.pipe.bytes.Add(-n.bytes)
	}
}
