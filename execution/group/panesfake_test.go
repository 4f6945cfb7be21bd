package group_test

import (
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/gorunner/gorunner/coder"
	"github.com/gorunner/gorunner/element"
	"github.com/gorunner/gorunner/execution/group"
	"github.com/gorunner/gorunner/execution/harness"
	"github.com/gorunner/gorunner/execution/windowing"
	"github.com/gorunner/gorunner/plan"
	"github.com/gorunner/gorunner/shuffle"
	"github.com/gorunner/gorunner/state"
)

// job is what the engine does for a stage of panes: it keeps state and timers
// between bundles, and the clocks.
type job struct {
	panes     *group.Panes
	stage     *plan.Stage
	windowing *plan.Windowing
	store     *state.Cache
	// cells are all that were ever written to.
	cells  map[state.Cell]bool
	timers map[string]group.Timer
	time   harness.Time
	// output is the watermark of the output as far as it has come.
	output element.EventTime
	// out are the panes, shown the contents of a view's windows.
	out     []fired
	shown   []fired
	dropped int64
	// asked counts the calls of the function that merges windows.
	asked int
	pages int
}

// fired is a pane that was emitted.
type fired struct {
	key, window string
	at, expiry  element.EventTime
	pane        element.Pane
	values      []string
}

func (f fired) String() string {
	s := fmt.Sprintf("%s %s @%v %v %d/%d", f.key, f.window, f.at, f.pane.Timing, f.pane.Index, f.pane.NonSpeculative)
	if f.pane.First {
		s += " first"
	}
	if f.pane.Last {
		s += " last"
	}
	return strings.TrimSuffix(s+": "+strings.Join(f.values, " "), " ")
}

func newJob(w *plan.Windowing, params group.PanesParams, view, paged bool) (*job, error) {
	if _, custom := w.Fn.(plan.CustomWindows); custom {
		w.Window = coder.Must(coder.CustomWindow)
	}
	j := &job{
		windowing: w, store: state.NewMemory(),
		cells: make(map[state.Cell]bool), timers: make(map[string]group.Timer),
		time: harness.Time{Watermark: element.MinTime, Reached: element.MinTime, Ahead: element.MinTime}, output: element.MinTime,
		stage: &plan.Stage{Name: "stage", Kind: &plan.GroupByKey{
			Windowing: w, Streaming: true,
			Key: coder.Must(coder.Bytes), Value: coder.Must(coder.Bytes), PagedValues: paged,
		}},
	}
	if params.Edge == nil {
		params.Edge = &plan.Edge{}
	}
	params.Edge.Value = coder.Must(coder.KV, coder.Must(coder.Bytes), coder.Must(coder.Bytes))
	if view {
		j.stage.Kind = &plan.View{Windowing: w}
		params.Edge.Value = coder.Must(coder.Bytes)
	}
	params.Windowing, params.Stage, params.Edge.Windowing = w, j.stage, w
	var err error
	j.panes, err = group.NewPanes(params)
	return j, err
}

// recordingTxn notes what is written to.
type recordingTxn struct {
	state.Txn
	cells map[state.Cell]bool
}

func (t *recordingTxn) Append(c state.Cell, entry string, data []byte) error {
	t.cells[c] = true
	return t.Txn.Append(c, entry, data)
}

func (t *recordingTxn) Replace(c state.Cell, entry string, data []byte) error {
	t.cells[c] = true
	return t.Txn.Replace(c, entry, data)
}

// run executes a bundle and commits it.
func (j *job) run(ctx context.Context, input []element.Block, due []group.Timer) error {
	type change struct {
		name  string
		timer group.Timer
		set   bool
	}
	var changes []change
	txn := &recordingTxn{j.store.Begin(), j.cells}
	b := &group.Bundle{
		Input: input, Due: due, Time: j.time, State: txn, Merge: j.merge,
		Set: func(t group.Timer) error {
			if t.Fire <= element.MinTime || t.Fire >= element.MaxTime {
				return fmt.Errorf("%w: timer at %v", errForm, t.Fire)
			}
			t.Key, t.Window = slices.Clone(t.Key), slices.Clone(t.Window)
			changes = append(changes, change{nameOf(t), t, true})
			return nil
		},
		Clear: func(t group.Timer) error {
			changes = append(changes, change{nameOf(t), t, false})
			return nil
		},
	}
	if _, view := j.stage.Kind.(*plan.View); view {
		b.Show = j.show
	} else {
		b.Emit = j.emit
	}
	if err := j.panes.Run(ctx, b); err != nil {
		return err
	}
	for _, c := range changes {
		delete(j.timers, c.name)
		if c.set {
			j.timers[c.name] = c.timer
		}
	}
	j.dropped += b.Dropped
	return txn.Apply(0)
}

func nameOf(t group.Timer) string {
	return fmt.Sprint(t.Domain, string(t.Key), " ", string(t.Window))
}

// outputWatermark is what the input watermark and the timers leave of it.
func (j *job) outputWatermark() element.EventTime {
	t := j.time.Watermark
	for _, timer := range j.timers {
		t = min(t, timer.Hold)
	}
	return t
}

// clock returns what the clock of a domain shows, as far as timers go by it.
func (j *job) clock(d plan.TimeDomain) element.EventTime {
	switch d {
	case plan.EventTimeDomain:
		return j.time.Watermark - 1
	case plan.ProcessingTimeDomain:
		return j.time.Processing
	case plan.SynchronizedDomain:
	}
	return j.time.Synchronized
}

// fire executes bundles of the timers that are due until none is.
func (j *job) fire(ctx context.Context) error {
	const rounds = 100
	for range rounds {
		due := j.takeDue()
		if len(due) == 0 {
			return nil
		}
		if err := j.run(ctx, nil, due); err != nil {
			return err
		}
	}
	return fmt.Errorf("%w: timers that do not end", errForm)
}

// takeDue removes the timers that are due.
func (j *job) takeDue() []group.Timer {
	var due []group.Timer
	for name, t := range j.timers {
		if t.Fire <= j.clock(t.Domain) {
			due = append(due, t)
			delete(j.timers, name)
		}
	}
	slices.SortFunc(due, func(a, b group.Timer) int {
		return cmp.Or(cmp.Compare(a.Domain, b.Domain), cmp.Compare(a.Fire, b.Fire), cmp.Compare(nameOf(a), nameOf(b)))
	})
	return due
}

// emit reads a block of output.
func (j *job) emit(b element.Block) error {
	layout := shuffle.Layout{
		Value: coder.Must(coder.KV, coder.Must(coder.Bytes),
			coder.Must(coder.StateBackedIterable, coder.Must(coder.Bytes))),
		Window: j.windowing.Window,
	}
	whole, err := layout.MakeBlock(b.Data)
	if err != nil || whole.Count != b.Count || whole.MinTime != b.MinTime {
		return fmt.Errorf("%w: block of %d elements from %v says %d from %v: %w", errForm,
			whole.Count, whole.MinTime, b.Count, b.MinTime, err)
	}
	return layout.Each(&b, func(e *shuffle.Element, window []byte) error {
		pane, n, err := coder.CutPane(e.Header.Pane)
		if err != nil || n != len(e.Header.Pane) || e.Header.NumWindows != 1 {
			return fmt.Errorf("%w: pane %x in %d windows: %w", errForm, e.Header.Pane, e.Header.NumWindows, err)
		}
		end, err := j.windowing.Window.WindowEnd(window)
		if err != nil {
			return err
		}
		f := fired{at: e.Header.Timestamp, window: printWindow(window, j.windowing.Window), pane: pane}
		f.expiry = windowing.Expiry(end, j.windowing.AllowedLateness)
		var rest string
		f.key, rest = cutBytes(string(e.Value))
		count, rest := int32(binary.BigEndian.Uint32([]byte(rest))), rest[4:]
		if count == -1 {
			if rest, err = j.page(b.Pages, rest); err != nil {
				return err
			}
		}
		for rest != "" {
			var value string
			value, rest = cutBytes(rest)
			f.values = append(f.values, value)
		}
		if count >= 0 && int(count) != len(f.values) {
			return fmt.Errorf("%w: %d values, says %d", errForm, len(f.values), count)
		}
		j.out = append(j.out, f)
		return nil
	})
}

// page returns the values of the page whose token s is.
func (j *job) page(pages []*element.Page, s string) (string, error) {
	token, ok := strings.CutPrefix(s, "\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01")
	for _, p := range pages {
		if name, _ := cutBytes(token); ok && p.Token == name {
			j.pages++
			var values []byte
			for _, c := range p.Chunks {
				values = append(values, c.Data...)
			}
			return string(values), nil
		}
	}
	return "", fmt.Errorf("%w: no page %q", errForm, s)
}

func (j *job) show(c group.Contents) error {
	f := fired{window: printWindow(c.Window, j.windowing.Window)}
	for _, chunk := range c.Chunks {
		for rest := string(chunk); rest != ""; {
			var value string
			value, rest = cutBytes(rest)
			f.values = append(f.values, value)
		}
	}
	if len(f.values) != c.Count {
		return fmt.Errorf("%w: %d values, says %d", errForm, len(f.values), c.Count)
	}
	j.shown = append(j.shown, f)
	return nil
}

// live returns the cells that are not empty.
func (j *job) live() (cells []state.Cell, err error) {
	txn := j.store.Begin()
	for c := range j.cells {
		entries, err := state.Entries(txn, c)
		if err != nil {
			return nil, err
		}
		if len(entries) > 0 {
			cells = append(cells, c)
		}
	}
	slices.SortFunc(cells, func(a, b state.Cell) int {
		return cmp.Or(cmp.Compare(a.Key, b.Key), cmp.Compare(a.State, b.State), cmp.Compare(a.Window, b.Window))
	})
	return cells, nil
}

// A custom window is an interval and a number. Those that intersect merge, and
// their numbers add up.
type customWindow struct {
	windowing.Interval
	number int
}

func (c customWindow) encode() []byte {
	body := fmt.Appendf(nil, "%d,%d,%d", c.Start, c.End, c.number)
	b := coder.PutTime(nil, c.End-1)
	return append(append(b, byte(len(body))), body...)
}

func readCustom(b []byte) (c customWindow, err error) {
	if len(b) < 9 {
		return c, coder.ErrShort
	}
	_, err = fmt.Sscanf(string(b[9:]), "%d,%d,%d", &c.Start, &c.End, &c.number)
	return c, err
}

// errMerge is what merging the window [13,13) fails with.
var errMerge = errors.New("unlucky window")

// merge merges custom windows.
func (j *job) merge(_ context.Context, sets [][][]byte) ([][]windowing.Merged, error) {
	j.asked++
	out := make([][]windowing.Merged, len(sets))
	for i, set := range sets {
		intervals := make([][]byte, len(set))
		back := make(map[string][][]byte)
		numbers := make(map[string]int)
		for n, w := range set {
			c, err := readCustom(w)
			if err != nil {
				return nil, err
			}
			if c.Start == 13 && c.End == 13 {
				return nil, errMerge
			}
			intervals[n] = c.Interval.Append(nil)
			back[string(intervals[n])] = append(back[string(intervals[n])], w)
			numbers[string(intervals[n])] += c.number
		}
		slices.SortFunc(intervals, func(a, b []byte) int { return strings.Compare(string(a), string(b)) })
		intervals = slices.CompactFunc(intervals, slices.Equal)
		merged, err := windowing.MergeIntervals(intervals)
		if err != nil {
			return nil, err
		}
		for _, m := range merged {
			var from [][]byte
			number := 0
			for _, f := range m.From {
				from = append(from, back[string(f)]...)
				number += numbers[string(f)]
			}
			whole, err := windowing.ReadInterval(m.Window)
			if err != nil {
				return nil, err
			}
			out[i] = append(out[i], windowing.Merged{Window: customWindow{whole, number}.encode(), From: from})
		}
	}
	return out, nil
}

// printWindow prints a window like [0,10), custom ones like [0,10)#3.
func printWindow(b []byte, c *coder.Coder) string {
	if c.Kind() == coder.GlobalWindow {
		return "global"
	}
	if c.Kind() == coder.CustomWindow {
		w, err := readCustom(b)
		if err != nil {
			return err.Error()
		}
		return fmt.Sprintf("[%d,%d)#%d", w.Start, w.End, w.number)
	}
	i, err := windowing.ReadInterval(b)
	if err != nil {
		return err.Error()
	}
	return fmt.Sprintf("[%d,%d)", i.Start, i.End)
}

// assign returns the windows of an element.
func assign(fn plan.WindowFn, at element.EventTime) [][]byte {
	ms := func(d interface{ Milliseconds() int64 }) element.EventTime {
		return element.EventTime(d.Milliseconds())
	}
	floor := func(size element.EventTime) element.EventTime { return at - ((at%size)+size)%size }
	var out [][]byte
	switch fn := fn.(type) {
	case plan.GlobalWindows:
		return [][]byte{nil}
	case plan.FixedWindows:
		start := floor(ms(fn.Size))
		return [][]byte{windowing.Interval{Start: start, End: start + ms(fn.Size)}.Append(nil)}
	case plan.SlidingWindows:
		for start := floor(ms(fn.Period)); start+ms(fn.Size) > at; start -= ms(fn.Period) {
			out = append(out, windowing.Interval{Start: start, End: start + ms(fn.Size)}.Append(nil))
		}
		return out
	case plan.Sessions:
		return [][]byte{windowing.Interval{Start: at, End: at + ms(fn.Gap)}.Append(nil)}
	case plan.CustomWindows:
	}
	return [][]byte{customWindow{windowing.Interval{Start: at, End: at + 10}, 1}.encode()}
}

// encodeInput encodes an element written as key:value@time, or value@time for a
// view, with the window behind it if it is not what the WindowFn makes it.
func (j *job) encodeInput(s string) ([]byte, element.EventTime, error) {
	s, window, explicit := strings.Cut(s, "[")
	s, time, _ := strings.Cut(s, "@")
	at, err := strconv.ParseInt(time, 10, 64)
	if err != nil {
		return nil, 0, err
	}
	windows := assign(j.windowing.Fn, element.EventTime(at))
	if explicit {
		var c customWindow
		if _, err := fmt.Sscanf(window, "%d,%d)#%d", &c.Start, &c.End, &c.number); err != nil {
			return nil, 0, err
		}
		windows = [][]byte{c.encode()}
	}
	b := coder.PutHeader(nil, element.Header{
		Timestamp: element.EventTime(at), Windows: slices.Concat(windows...), NumWindows: len(windows),
		Pane: []byte{coder.PaneOnlyFiring},
	})
	parts := []string{s}
	if _, view := j.stage.Kind.(*plan.View); !view {
		key, value, _ := strings.Cut(s, ":")
		parts = []string{key, value}
	}
	for _, part := range parts {
		b = append(binary.AppendUvarint(b, uint64(len(part))), part...)
	}
	return b, element.EventTime(at), nil
}

// input makes a block of elements.
func (j *job) input(elements []string) (element.Block, error) {
	b := element.Block{MinTime: element.MaxTime}
	for _, s := range elements {
		data, at, err := j.encodeInput(s)
		if err != nil {
			return b, fmt.Errorf("element %q: %w", s, err)
		}
		b.Data = append(b.Data, data...)
		b.Count++
		b.MinTime = min(b.MinTime, at)
	}
	return b, nil
}
