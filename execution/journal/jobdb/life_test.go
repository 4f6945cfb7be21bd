package jobdb_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"hash/crc32"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/gorunner/gorunner/element"
	"github.com/gorunner/gorunner/execution/journal"
	"github.com/gorunner/gorunner/execution/journal/jobdb"
	"github.com/gorunner/gorunner/execution/metrics"
	"github.com/gorunner/gorunner/execution/timer"
	"github.com/gorunner/gorunner/plan"
	"github.com/gorunner/gorunner/shuffle"
	"github.com/gorunner/gorunner/state"
)

// life is a job that commits at random, and what should be on disk after each
// commit.
type life struct {
	random *rand.Rand
	last   element.Number
	edge   plan.EdgeID // the first that is read
	after  map[journal.Seq]moment
	now    moment
	// commit is what is being made, on disk what it stores.
	commit *journal.Commit
	db     *jobdb.DB
}

// moment is what a job is, each thing described under its name, and the sum of a
// counter.
type moment struct {
	things  map[string]string
	counter int64
}

func newLife(seed uint64) *life {
	l := &life{random: rand.New(rand.NewPCG(seed, 0)), now: moment{things: map[string]string{}}}
	l.after = map[journal.Seq]moment{0: l.now}
	return l
}

func (l *life) some(n int) int { return l.random.IntN(n) }

// things lists those of a kind, in order, so that equal seeds choose the same.
func (l *life) things(kind string) (names []string) {
	for name := range l.now.things {
		if strings.HasPrefix(name, kind+" ") {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// commits makes a number of commits.
func (l *life) commits(db *jobdb.DB, n int) error {
	for range n {
		if err := l.makeCommit(db); err != nil {
			return err
		}
	}
	return nil
}

// makeCommit makes a commit of a bit of everything.
func (l *life) makeCommit(db *jobdb.DB) error {
	l.db, l.commit = db, &journal.Commit{}
	l.now.things = maps.Clone(l.now.things)
	for _, change := range []func() error{l.blocks, l.sides, l.shown, l.timers, l.others} {
		if err := change(); err != nil {
			return err
		}
	}
	n := int64(l.some(100))
	l.now.counter += n
	l.commit.Metrics = []metrics.Info{counter(n)}
	seq, err := db.Append(context.Background(), l.commit)
	if err != nil {
		return err
	}
	l.after[seq] = l.now
	if l.some(30) == 0 {
		db.Collect() // what is free is overwritten
	}
	if l.some(3) == 0 {
		return db.Wait(context.Background(), seq)
	}
	return nil
}

// chunk makes data in memory or on disk.
func (l *life) chunk() (element.Chunk, error) {
	data := make([]byte, 1+l.some(20_000))
	for i := range data {
		data[i] = byte(l.random.Uint32())
	}
	switch l.some(3) {
	case 0:
		return element.Chunk{Data: data[:min(len(data), 1000)]}, nil
	case 1:
		return element.Chunk{Stored: shuffle.NewLater(data)}, nil
	}
	s, err := l.db.Disk().Store(data)
	return element.Chunk{Stored: s}, err
}

func (l *life) chunks() (chunks []element.Chunk, err error) {
	for i := l.some(3); i > 0 && err == nil; i-- {
		var c element.Chunk
		c, err = l.chunk()
		chunks = append(chunks, c)
	}
	return chunks, err
}

// block makes a block with a number, sometimes with a page.
func (l *life) block() (element.Block, error) {
	l.last++
	c, err := l.chunk()
	b := element.Block{Number: l.last, Count: 1 + l.some(9), MinTime: element.EventTime(l.some(9)), Data: c.Data, Stored: c.Stored}
	if err == nil && l.some(8) == 0 {
		page := &element.Page{Token: fmt.Sprint("token", l.last)}
		page.Chunks, err = l.chunks()
		b.Pages = append(b.Pages, page)
	}
	return b, err
}

func (l *life) blocks() error {
	for _, name := range l.things("block") {
		if l.some(4) == 0 {
			var n element.Number
			if _, err := fmt.Sscanf(name, "block %d", &n); err != nil {
				return err
			}
			delete(l.now.things, name)
			l.commit.Consumed = append(l.commit.Consumed, n)
		}
	}
	for range l.some(3) {
		b := journal.Block{Stage: 1, Group: element.Unkeyed, Due: element.MinTime}
		var err error
		if b.Block, err = l.block(); err != nil {
			return err
		}
		l.now.things[fmt.Sprint("block ", b.Number)] = describeBlock(&b.Block)
		l.commit.Queued = append(l.commit.Queued, b)
	}
	return nil
}

func (l *life) sides() error {
	if l.some(12) == 0 { // and nothing comes to the edge any more
		l.commit.SideDone = append(l.commit.SideDone, l.edge)
		for _, name := range l.things(fmt.Sprint("side ", l.edge)) {
			delete(l.now.things, name)
		}
		l.edge++
	}
	if l.some(4) > 0 {
		return nil
	}
	b := journal.SideBlock{Edge: l.edge + plan.EdgeID(l.some(2))}
	var err error
	b.Block, err = l.block()
	l.now.things[fmt.Sprint("side ", b.Edge, " ", b.Number)] = describeBlock(&b.Block)
	l.commit.Side = append(l.commit.Side, b)
	return err
}

func (l *life) shown() error {
	if l.some(3) > 0 {
		return nil
	}
	s := journal.Shown{View: 1, Window: string(rune('a' + l.some(3))), Forgotten: l.some(4) == 0, Count: l.some(9)}
	name := fmt.Sprintf("shown %d %s", s.View, s.Window)
	delete(l.now.things, name)
	var err error
	if !s.Forgotten {
		s.Chunks, err = l.chunks()
		l.now.things[name] = describeShown(&s)
	}
	l.commit.Shown = append(l.commit.Shown, s)
	return err
}

func (l *life) timers() error {
	for _, tag := range []string{"a", "b", "c"} {
		if l.some(4) > 0 {
			continue
		}
		t := journal.Timer{Stage: 2, Timer: timer.Timer{Name: timer.Name{Key: "k", Tag: tag}}}
		delete(l.now.things, nameOfTimer(&t))
		if l.some(3) > 0 {
			t.Fire, t.Data = element.EventTime(l.some(99)), []byte{byte(l.some(256))}
			l.now.things[nameOfTimer(&t)] = describeTimer(&t)
		}
		l.commit.Timers = append(l.commit.Timers, t)
	}
	return nil
}

// others changes what is small.
func (l *life) others() error {
	p := journal.Parked{Stage: 3, Domain: plan.TimeDomain(l.some(2)), Group: 5, Parked: timer.Parked{Count: int64(l.some(3)), First: 1, Hold: 2}}
	name := fmt.Sprint("parked ", p.Stage, p.Domain, p.Group)
	if delete(l.now.things, name); p.Count > 0 {
		l.now.things[name] = fmt.Sprint(p.Parked)
	} else {
		p.Parked = timer.Parked{}
	}
	l.commit.Parked = append(l.commit.Parked, p)

	st := journal.Stage{ID: plan.StageID(l.some(3)), Output: element.EventTime(l.some(99)), Finished: l.some(9) == 0}
	l.now.things[fmt.Sprint("stage ", st.ID)] = fmt.Sprintf("%+v", st)
	l.commit.Stages = append(l.commit.Stages, st)

	script := journal.Script{Index: l.some(2), Played: l.some(99), Clock: time.Duration(l.some(99))}
	l.now.things[fmt.Sprint("script ", script.Index)] = fmt.Sprintf("%+v", script)
	l.commit.Scripts = append(l.commit.Scripts, script)

	key, value := fmt.Sprint("cell", l.some(5)), fmt.Sprint(l.some(999))
	l.commit.State = &state.Changes{}
	if name := "state " + key; l.some(3) == 0 {
		delete(l.now.things, name)
		l.commit.State.Delete([]byte(key))
	} else {
		l.now.things[name] = value
		l.commit.State.Set([]byte(key), []byte(value))
	}
	if l.some(50) == 0 {
		l.now.things["draining"], l.commit.Draining = "", true
	}
	return nil
}

func describeChunk(c *element.Chunk) string {
	data, err := c.Load()
	if err != nil {
		return err.Error()
	}
	return fmt.Sprintf("%d bytes %08x", len(data), crc32.ChecksumIEEE(data))
}

func describeChunks(chunks []element.Chunk) string {
	var all []string
	for i := range chunks {
		all = append(all, describeChunk(&chunks[i]))
	}
	return fmt.Sprint(all)
}

func describeBlock(b *element.Block) string {
	s := fmt.Sprintf("%d elements from %d on, %s", b.Count, b.MinTime, describeChunk(&element.Chunk{Data: b.Data, Stored: b.Stored}))
	for _, p := range b.Pages {
		s += fmt.Sprintf(", page %s %s", p.Token, describeChunks(p.Chunks))
	}
	return s
}

func describeShown(s *journal.Shown) string {
	return fmt.Sprint(s.Count, " values ", describeChunks(s.Chunks))
}

func nameOfTimer(t *journal.Timer) string { return fmt.Sprintf("timer %d %+v", t.Stage, t.Name) }

func describeTimer(t *journal.Timer) string { return fmt.Sprintf("at %d: %x", t.Fire, t.Data) }

// describe describes what a database was opened with.
func describe(db *jobdb.DB, m *journal.Image) (map[string]string, error) {
	things := map[string]string{}
	for i := range m.Queued {
		things[fmt.Sprint("block ", m.Queued[i].Number)] = describeBlock(&m.Queued[i].Block)
	}
	for i := range m.Side {
		things[fmt.Sprint("side ", m.Side[i].Edge, " ", m.Side[i].Number)] = describeBlock(&m.Side[i].Block)
	}
	for i := range m.Shown {
		things[fmt.Sprintf("shown %d %s", m.Shown[i].View, m.Shown[i].Window)] = describeShown(&m.Shown[i])
	}
	for i := range m.Timers {
		things[nameOfTimer(&m.Timers[i])] = describeTimer(&m.Timers[i])
	}
	for _, p := range m.Parked {
		things[fmt.Sprint("parked ", p.Stage, p.Domain, p.Group)] = fmt.Sprint(p.Parked)
	}
	for _, st := range m.Stages {
		things[fmt.Sprint("stage ", st.ID)] = fmt.Sprintf("%+v", st)
	}
	for _, script := range m.Scripts {
		things[fmt.Sprint("script ", script.Index)] = fmt.Sprintf("%+v", script)
	}
	if m.Draining {
		things["draining"] = ""
	}
	rows, err := db.State().Rows(nil, nil, nil)
	if err != nil {
		return nil, err
	}
	for err = rows.Seek(nil); err == nil && rows.Key() != nil; err = rows.Next() {
		var value []byte
		if value, err = rows.Value(); err != nil {
			break
		}
		things["state "+string(bytes.Clone(rows.Key()))] = string(value)
	}
	return things, errors.Join(err, rows.Close())
}

func counter(n int64) metrics.Info {
	return metrics.Info{
		URN: "beam:metric:user:sum_int64:v1", Type: "beam:metrics:sum_int64:v1",
		Labels: map[string]string{"NAME": "n"}, Payload: varint(n),
	}
}

func varint(n int64) (b []byte) {
	for u := uint64(n); ; u >>= 7 {
		if u < 0x80 {
			return append(b, byte(u))
		}
		b = append(b, byte(u)|0x80)
	}
}

// resume checks that the database has a prefix of the commits which has at least
// those that were said to be durable.
func (l *life) resume(db *jobdb.DB, durable journal.Seq) error {
	seq := db.Last()
	want, ok := l.after[seq]
	if !ok || seq < durable {
		return fmt.Errorf("commit %d is the last, and %d was durable", seq, durable)
	}
	image := db.Image()
	got, err := describe(db, image)
	if err != nil {
		return err
	}
	if diff := cmp.Diff(want.things, got); diff != "" {
		return fmt.Errorf("after commit %d the job is something else (-want +got):\n%s", seq, diff)
	}
	var sum metrics.Set
	if err := sum.Add([]metrics.Info{counter(0), counter(want.counter)}); err != nil {
		return err
	}
	if err := image.Metrics.Add([]metrics.Info{counter(0)}); err != nil {
		return err
	}
	if got, want := fmt.Sprint(image.Metrics.Infos()), fmt.Sprint(sum.Infos()); got != want {
		return fmt.Errorf("metrics after commit %d are %s, want %s", seq, got, want)
	}
	l.now = want
	return nil
}
