package journal_test

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"maps"
	"slices"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"

	"github.com/gorunner/gorunner/element"
	"github.com/gorunner/gorunner/execution/journal"
	"github.com/gorunner/gorunner/execution/metrics"
	"github.com/gorunner/gorunner/execution/timer"
	"github.com/gorunner/gorunner/plan"
)

// rows are kept in a map.
type rows map[string][]byte

func (r rows) Set(key, value []byte) error {
	r[string(key)] = bytes.Clone(value)
	return nil
}

func (r rows) Delete(key []byte) error {
	delete(r, string(key))
	return nil
}

func (r rows) DeleteRange(from, to []byte) error {
	maps.DeleteFunc(r, func(k string, _ []byte) bool { return k >= string(from) && k < string(to) })
	return nil
}

func (r rows) Len() int      { return len(r) }
func (r rows) Commit() error { return nil }
func (r rows) Close() error  { return nil }

// image reads the rows of all kinds.
func (r rows) image() (*journal.Image, error) {
	var m journal.Image
	read := 0
	for _, kind := range journal.Kinds() {
		for _, k := range slices.Sorted(maps.Keys(r)) {
			if k < string(kind[0]) || k >= string(kind[1]) {
				continue
			}
			read++
			if err := m.Read([]byte(k), r[k], open); err != nil {
				return nil, err
			}
		}
	}
	if read != len(r) {
		return nil, fmt.Errorf("%d rows of %d", read, len(r))
	}
	return &m, nil
}

// stored lies at its place.
type stored struct{ At element.Place }

func (s stored) Size() int                     { return int(s.At.Size) }
func (s stored) Load() ([]byte, error)         { return nil, errors.New("not to be loaded") }
func (s stored) Place() (element.Place, error) { return s.At, nil }

func open(p element.Place) (element.Stored, error) { return stored{p}, nil }

func drawBytes(t *rapid.T, label string) []byte {
	return rapid.SliceOfN(rapid.Byte(), 0, 5).Draw(t, label)
}

func drawText(t *rapid.T, label string) string { return string(drawBytes(t, label)) }

func drawTime(t *rapid.T, label string) element.EventTime {
	return element.EventTime(rapid.SampledFrom([]int64{
		int64(element.MinTime), -1, 0, 1, 1 << 40, int64(element.EndOfGlobalWindow), int64(element.MaxTime),
	}).Draw(t, label))
}

func drawChunk(t *rapid.T) element.Chunk {
	if rapid.Bool().Draw(t, "stored") {
		return element.Chunk{Stored: stored{element.Place{
			File: rapid.Uint64().Draw(t, "file"), Offset: rapid.Uint64().Draw(t, "offset"),
			Bytes: rapid.Uint32().Draw(t, "bytes"), Size: rapid.Uint32().Draw(t, "size"),
		}}}
	}
	return element.Chunk{Data: drawBytes(t, "data")}
}

func drawChunks(t *rapid.T) []element.Chunk {
	return rapid.SliceOfN(rapid.Custom(drawChunk), 1, 3).Draw(t, "chunks")
}

func drawBlock(t *rapid.T) element.Block {
	c := drawChunk(t)
	b := element.Block{Data: c.Data, Stored: c.Stored, Count: rapid.IntRange(0, 1<<40).Draw(t, "count"), MinTime: drawTime(t, "min"), MinEnd: drawTime(t, "end")}
	if rapid.Bool().Draw(t, "windowed") {
		b.Window = drawBytes(t, "window")
	}
	for range rapid.IntRange(0, 2).Draw(t, "pages") {
		b.Pages = append(b.Pages, &element.Page{Token: drawText(t, "token"), Chunks: drawChunks(t)})
	}
	return b
}

// model is what an image should be.
type model struct {
	ended   map[plan.EdgeID]bool // edges to which nothing comes any more
	last    element.Number
	queued  map[element.Number]journal.Block
	timers  map[string]journal.Timer
	parked  map[string]journal.Parked
	side    map[string]journal.SideBlock
	shown   map[string]journal.Shown
	stages  map[plan.StageID]journal.Stage
	scripts map[int]journal.Script
	drained bool
	commit  journal.Commit // that is being made
}

func drawStage(t *rapid.T) plan.StageID { return plan.StageID(rapid.IntRange(0, 3).Draw(t, "stage")) }

func (m *model) queue(t *rapid.T) {
	m.last++
	b := journal.Block{
		Stage: drawStage(t), Group: rapid.SampledFrom([]element.KeyGroup{element.Unkeyed, 0, 7, 1000}).Draw(t, "group"),
		Due: drawTime(t, "due"), Truncated: rapid.Bool().Draw(t, "truncated"), Block: drawBlock(t),
	}
	b.Number = m.last
	m.queued[m.last] = b
	m.commit.Queued = append(m.commit.Queued, b)
}

func (m *model) consume(t *rapid.T) {
	for n := range m.queued {
		if rapid.Bool().Draw(t, "consume") {
			delete(m.queued, n)
			m.commit.Consumed = append(m.commit.Consumed, n)
		}
	}
}

func (m *model) setTimer(t *rapid.T) {
	x := journal.Timer{Stage: drawStage(t)}
	x.Name = timer.Name{
		Family: rapid.IntRange(0, 2).Draw(t, "family"), Key: drawText(t, "key"), Tag: drawText(t, "tag"), Window: drawText(t, "window"),
	}
	name := fmt.Sprintf("%d %+v", x.Stage, x.Name)
	for _, other := range m.commit.Timers {
		if name == fmt.Sprintf("%d %+v", other.Stage, other.Name) {
			return
		}
	}
	if rapid.Bool().Draw(t, "set") {
		x.Domain, x.Group = plan.TimeDomain(rapid.IntRange(0, 2).Draw(t, "domain")), element.KeyGroup(rapid.Uint16().Draw(t, "group"))
		x.Fire, x.Hold, x.Chain = drawTime(t, "fire"), drawTime(t, "hold"), rapid.IntRange(0, 100).Draw(t, "chain")
		x.Data = drawBytes(t, "data")
		m.timers[name] = x
	} else {
		delete(m.timers, name)
	}
	m.commit.Timers = append(m.commit.Timers, x)
}

func (m *model) park(t *rapid.T) {
	p := journal.Parked{
		Stage: drawStage(t), Domain: plan.TimeDomain(rapid.IntRange(0, 2).Draw(t, "domain")), Group: element.KeyGroup(rapid.Uint16().Draw(t, "group")),
	}
	name := fmt.Sprintf("%08d %d %08d", p.Stage, p.Domain, p.Group)
	if p.Count = int64(rapid.IntRange(0, 3).Draw(t, "count")); p.Count > 0 {
		p.First, p.Hold = drawTime(t, "first"), drawTime(t, "hold")
		m.parked[name] = p
	} else {
		delete(m.parked, name)
	}
	m.commit.Parked = append(m.commit.Parked, p)
}

func (m *model) addSide(t *rapid.T) {
	m.last++
	b := journal.SideBlock{Edge: plan.EdgeID(rapid.IntRange(0, 9).Draw(t, "edge")), Block: drawBlock(t)}
	if m.ended[b.Edge] {
		return
	}
	b.Number = m.last
	m.side[fmt.Sprint(b.Edge, " ", b.Number)] = b
	m.commit.Side = append(m.commit.Side, b)
}

func (m *model) endSide(t *rapid.T) {
	e := plan.EdgeID(rapid.IntRange(0, 9).Draw(t, "edge"))
	if slices.ContainsFunc(m.commit.Side, func(b journal.SideBlock) bool { return b.Edge == e }) {
		return
	}
	maps.DeleteFunc(m.side, func(_ string, b journal.SideBlock) bool { return b.Edge == e })
	m.ended[e] = true
	m.commit.SideDone = append(m.commit.SideDone, e)
}

func (m *model) show(t *rapid.T) {
	s := journal.Shown{View: drawStage(t), Window: drawText(t, "window")}
	if slices.ContainsFunc(m.commit.Shown, func(o journal.Shown) bool { return o.View == s.View && o.Window == s.Window }) {
		return
	}
	name := fmt.Sprintf("%d %q", s.View, s.Window)
	if s.Forgotten = rapid.Bool().Draw(t, "forgotten"); s.Forgotten {
		delete(m.shown, name)
	} else {
		s.Count, s.Chunks = rapid.IntRange(0, 9).Draw(t, "count"), drawChunks(t)
		m.shown[name] = s
	}
	m.commit.Shown = append(m.commit.Shown, s)
}

func (m *model) moveStage(t *rapid.T) {
	s := journal.Stage{ID: drawStage(t), Input: drawTime(t, "input"), Output: drawTime(t, "output"), Reached: drawTime(t, "reached"), Finished: rapid.Bool().Draw(t, "finished")}
	for _, n := range []*int64{&s.ElementsIn, &s.BytesIn, &s.ElementsOut, &s.BytesOut} {
		*n = rapid.Int64().Draw(t, "n")
	}
	m.stages[s.ID] = s
	m.commit.Stages = append(m.commit.Stages, s)
}

func (m *model) play(t *rapid.T) {
	s := journal.Script{
		Index: rapid.IntRange(0, 1).Draw(t, "script"), Played: rapid.IntRange(0, 9).Draw(t, "played"),
		Epoch: drawTime(t, "epoch"), Clock: time.Duration(rapid.Int64().Draw(t, "clock")),
	}
	m.scripts[s.Index] = s
	m.commit.Scripts = append(m.commit.Scripts, s)
}

func (m *model) drain(*rapid.T) { m.drained, m.commit.Draining = true, true }

// want is the image that the rows should make.
func (m *model) want() *journal.Image {
	return &journal.Image{
		Queued: sorted(m.queued), Timers: sorted(m.timers), Parked: sorted(m.parked), Side: sorted(m.side), Shown: sorted(m.shown),
		Stages: sorted(m.stages), Scripts: sorted(m.scripts), Draining: m.drained,
	}
}

func sorted[K cmp.Ordered, V any](m map[K]V) []V {
	var all []V
	for _, k := range slices.Sorted(maps.Keys(m)) {
		all = append(all, m[k])
	}
	return all
}

// inOrder brings what has no order of its own into one.
func inOrder(m *journal.Image) {
	slices.SortFunc(m.Timers, func(a, b journal.Timer) int {
		return cmp.Compare(fmt.Sprintf("%d %+v", a.Stage, a.Name), fmt.Sprintf("%d %+v", b.Stage, b.Name))
	})
	slices.SortFunc(m.Side, func(a, b journal.SideBlock) int {
		return cmp.Compare(fmt.Sprint(a.Edge, " ", a.Number), fmt.Sprint(b.Edge, " ", b.Number))
	})
	slices.SortFunc(m.Shown, func(a, b journal.Shown) int {
		return cmp.Compare(fmt.Sprintf("%d %q", a.View, a.Window), fmt.Sprintf("%d %q", b.View, b.Window))
	})
}

func newModel() *model {
	return &model{
		ended:  map[plan.EdgeID]bool{},
		queued: map[element.Number]journal.Block{}, timers: map[string]journal.Timer{}, parked: map[string]journal.Parked{}, side: map[string]journal.SideBlock{},
		shown: map[string]journal.Shown{}, stages: map[plan.StageID]journal.Stage{}, scripts: map[int]journal.Script{},
	}
}

// Whatever is committed, the rows are an image of what has not been undone.
func TestRowsAgainstModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r := rows{}
		m := newModel()
		commit := func(t *rapid.T) {
			changes, err := m.commit.Changes()
			if err == nil {
				err = changes.Apply(r)
			}
			if err != nil {
				t.Fatal(err)
			}
			if m.commit.Empty() != (changes.Len() == 0) {
				t.Fatalf("empty is %v, and %d rows have changed", m.commit.Empty(), changes.Len())
			}
			m.commit = journal.Commit{}
			got, err := r.image()
			if err != nil {
				t.Fatal(err)
			}
			inOrder(got)
			if diff := gocmp.Diff(m.want(), got, gocmp.AllowUnexported(metrics.Set{}), cmpopts.IgnoreUnexported(timer.Timer{})); diff != "" {
				t.Fatalf("image differs from what was committed (-want +got):\n%s", diff)
			}
		}
		t.Repeat(map[string]func(*rapid.T){
			"queue": m.queue, "consume": m.consume, "timer": m.setTimer, "park": m.park, "side": m.addSide, "end side": m.endSide,
			"show": m.show, "stage": m.moveStage, "script": m.play, "drain": m.drain, "commit": commit,
		})
	})
}

func TestMetricsAgain(t *testing.T) {
	in := metrics.Info{
		URN: "beam:metric:user:sum_int64:v1", Type: "beam:metrics:sum_int64:v1",
		Labels: map[string]string{"PTRANSFORM": "a", "NAME": "n"}, Payload: []byte{42},
	}
	key, value := journal.Metric(&in)
	got, err := rows{string(key): value}.image()
	if err != nil {
		t.Fatal(err)
	}
	if diff := gocmp.Diff([]metrics.Info{in}, got.Metrics.Infos()); diff != "" {
		t.Errorf("metric differs (-want +got):\n%s", diff)
	}
}

// Bytes that are no rows are refused.
func FuzzRead(f *testing.F) {
	c := journal.Commit{
		Queued: []journal.Block{{Stage: 1, Group: 2, Due: 3, Block: element.Block{Number: 4, Count: 1, Window: []byte("w"), Pages: []*element.Page{
			{Token: "t", Chunks: []element.Chunk{{Data: []byte("d")}, {Stored: stored{element.Place{File: 1}}}}},
		}}}},
		Timers: []journal.Timer{{Stage: 1, Timer: timer.Timer{Name: timer.Name{Key: "k", Tag: "t", Window: "w"}, Data: []byte("d")}}},
		Shown:  []journal.Shown{{View: 1, Window: "w", Count: 1, Chunks: []element.Chunk{{Data: []byte("d")}}}},
		Stages: []journal.Stage{{ID: 1, Output: 2}}, Scripts: []journal.Script{{Index: 1}}, Draining: true,
	}
	changes, err := c.Changes()
	if err != nil {
		f.Fatal(err)
	}
	seeds := rows{}
	if err := changes.Apply(seeds); err != nil {
		f.Fatal(err)
	}
	for k, v := range seeds {
		f.Add([]byte(k), v)
	}
	f.Fuzz(func(t *testing.T, key, value []byte) {
		var m journal.Image
		err := m.Read(key, value, open)
		if err != nil && !errors.Is(err, journal.ErrRow) && !errors.Is(err, metrics.ErrMalformed) {
			t.Logf("refused: %v", err)
		}
	})
}

// Commits in a row, merged, leave the rows that they leave one by one, and nothing
// of what came and went in between.
func TestMerge(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		one, merged := rows{}, rows{}
		m := newModel()
		var group []*journal.Commit
		apply := func(c *journal.Commit, to rows) {
			changes, err := c.Changes()
			if err == nil {
				err = changes.Apply(to)
			}
			if err != nil {
				t.Fatal(err)
			}
		}
		commit := func(t *rapid.T) {
			c := m.commit
			m.commit = journal.Commit{}
			apply(&c, one)
			group = append(group, &c)
		}
		finish := func(t *rapid.T) {
			commit(t)
			c := journal.Merge(group)
			for _, b := range c.Queued {
				if _, there := m.queued[b.Number]; !there {
					t.Fatalf("block %d has been consumed", b.Number)
				}
			}
			apply(c, merged)
			group = nil
			if diff := gocmp.Diff(one, merged); diff != "" {
				t.Fatalf("rows differ (-one by one +merged):\n%s", diff)
			}
		}
		t.Repeat(map[string]func(*rapid.T){
			"queue": m.queue, "consume": m.consume, "timer": m.setTimer, "park": m.park, "side": m.addSide, "end side": m.endSide,
			"show": m.show, "stage": m.moveStage, "script": m.play, "drain": m.drain, "commit": commit, "finish": finish,
		})
		finish(t)
	})
}
