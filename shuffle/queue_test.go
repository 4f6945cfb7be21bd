package shuffle

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/cockroachdb/datadriven"
	"pgregory.net/rapid"

	"github.com/gorunner/gorunner/element"
)

// TestQueue runs the scripts of testdata/queue:
//
//	new [groups=N]
//	push [group=G] NAME count=N bytes=N [pages=N]
//	lease as=NAME bytes=N [elements=N] [parts] [leave=COUNT]
//	lock G as=NAME [blocks [parts bytes=N]]
//	settle NAME
//
// Each prints the whole queue and the open leases.
func TestQueue(t *testing.T) {
	datadriven.Walk(t, "testdata/queue", func(t *testing.T, path string) {
		t.Helper()
		s := queueScript{t: t}
		datadriven.RunTest(t, path, s.run)
	})
}

type queueScript struct {
	t      *testing.T
	queue  *Queue
	leases []namedLease
}

type namedLease struct {
	name  string
	lease Lease
}

func (s *queueScript) run(_ *testing.T, d *datadriven.TestData) string {
	switch d.Cmd {
	case "new":
		groups := 0
		d.MaybeScanArgs(s.t, "groups", &groups)
		s.queue, s.leases = NewQueue(groups), nil
	case "push":
		s.push(d)
	case "lease":
		var name string
		var limit Limit
		d.ScanArgs(s.t, "as", &name)
		d.ScanArgs(s.t, "bytes", &limit.Bytes)
		d.MaybeScanArgs(s.t, "elements", &limit.Elements)
		limit.Parts = d.HasArg("parts")
		var leave int
		if d.MaybeScanArgs(s.t, "leave", &leave); leave > 0 {
			limit.Leave = func(b *element.Block) bool { return b.Count == leave }
		}
		s.leases = append(s.leases, namedLease{name, s.queue.Lease(limit)})
	case "lock":
		var g int
		var name string
		if _, err := fmt.Sscan(d.CmdArgs[0].Key, &g); err != nil {
			d.Fatalf(s.t, "group: %v", err)
		}
		d.ScanArgs(s.t, "as", &name)
		lease := s.queue.Lock
		if d.HasArg("blocks") {
			limit := Limit{Bytes: 1 << 30}
			d.MaybeScanArgs(s.t, "bytes", &limit.Bytes)
			limit.Parts = d.HasArg("parts")
			lease = func(g element.KeyGroup) (Lease, bool) { return s.queue.LeaseGroup(g, limit) }
		}
		l, ok := lease(element.KeyGroup(g))
		if !ok {
			return "locked already, or empty\n"
		}
		s.leases = append(s.leases, namedLease{name, l})
	case "settle":
		i := slices.IndexFunc(s.leases, func(l namedLease) bool { return l.name == d.CmdArgs[0].Key })
		if i < 0 {
			d.Fatalf(s.t, "no lease %s", d.CmdArgs[0].Key)
		}
		s.queue.Settle(s.leases[i].lease)
		s.leases = slices.Delete(s.leases, i, i+1)
	default:
		d.Fatalf(s.t, "unknown command %s", d.Cmd)
	}
	return s.print()
}

func (s *queueScript) push(d *datadriven.TestData) {
	var count, size, pages int
	group := int(element.Unkeyed)
	d.MaybeScanArgs(s.t, "group", &group)
	d.ScanArgs(s.t, "count", &count)
	d.ScanArgs(s.t, "bytes", &size)
	d.MaybeScanArgs(s.t, "pages", &pages)
	name := ""
	for _, arg := range d.CmdArgs {
		if len(arg.Vals) == 0 {
			name = arg.Key
		}
	}
	b := element.Block{Data: make([]byte, size), Count: count}
	copy(b.Data, name)
	if pages > 0 {
		b.Pages = []*element.Page{{Chunks: []element.Chunk{{Data: make([]byte, pages)}}}}
	}
	s.queue.Push(element.KeyGroup(group), b)
}

func (s *queueScript) print() string {
	var b strings.Builder
	q := s.queue
	fmt.Fprintf(&b, "%d elements, %d bytes, available=%v, ready=%v\n", q.Count(), q.Bytes(), q.Available(), q.ready)
	for g := range q.groups {
		if len(q.groups[g].blocks) > 0 || q.groups[g].locked {
			fmt.Fprintf(&b, "group %d:%s", g, blockNames(q.groups[g].blocks))
			if q.groups[g].locked {
				b.WriteString(" (locked)")
			}
			b.WriteString("\n")
		}
	}
	for _, l := range s.leases {
		fmt.Fprintf(&b, "lease %s:%s, groups %v\n", l.name, blockNames(l.lease.Blocks), l.lease.Groups)
	}
	return b.String()
}

func blockNames(blocks []element.Block) string {
	var b strings.Builder
	for i := range blocks {
		fmt.Fprintf(&b, " %s", strings.TrimRight(string(blocks[i].Data), "\x00"))
	}
	return b.String()
}

// queueModel drives a queue and knows where each of its blocks must be.
type queueModel struct {
	queue  *Queue
	groups int
	next   int
	queued map[element.KeyGroup][]int // numbers of blocks, in order
	leased map[element.KeyGroup]bool
	leases []Lease
}

// numbered is block n; those with odd numbers are on disk.
func numbered(n int) element.Block {
	if n%2 == 1 {
		return element.Block{Stored: onDisk(n % 7), Count: n}
	}
	return element.Block{Data: make([]byte, n%7), Count: n}
}

// onDisk stands for that many bytes.
type onDisk int

func (d onDisk) Size() int                     { return int(d) }
func (d onDisk) Place() (element.Place, error) { return element.Place{Size: uint32(d)}, nil }
func (d onDisk) Load() ([]byte, error)         { return make([]byte, d), nil }

func (m *queueModel) push(t *rapid.T) {
	g := element.Unkeyed
	if m.groups > 0 {
		g = element.KeyGroup(rapid.IntRange(0, m.groups-1).Draw(t, "group"))
	}
	m.next++
	m.queue.Push(g, numbered(m.next))
	m.queued[g] = append(m.queued[g], m.next)
}

func (m *queueModel) lease(t *rapid.T) {
	limit := Limit{
		Bytes:    rapid.Int64Range(0, 20).Draw(t, "bytes"),
		Elements: rapid.Int64Range(0, 50).Draw(t, "elements"),
		Parts:    rapid.Bool().Draw(t, "parts"),
	}
	available := m.queue.Available()
	l := m.queue.Lease(limit)
	if available != (len(l.Blocks) > 0) {
		t.Fatalf("available %v, lease of %d blocks", available, len(l.Blocks))
	}
	if !available {
		return
	}
	from := l.Groups
	if m.groups == 0 {
		from = []element.KeyGroup{element.Unkeyed}
	}
	rest := l.Blocks
	for i, g := range from {
		if m.leased[g] {
			t.Fatalf("group %d is in two leases", g)
		}
		m.leased[g] = m.groups > 0
		n := m.taken(g, rest)
		if n == 0 {
			t.Fatalf("lease of groups %v has nothing of group %d", from, g)
		}
		rest = rest[n:]
		if left := len(m.queued[g]); left > 0 && (i < len(from)-1 || m.groups > 0 && !limit.Parts) {
			t.Fatalf("lease of groups %v leaves %d blocks of group %d", from, left, g)
		}
	}
	if len(rest) > 0 {
		t.Fatalf("leased %v beyond what was queued", blockNumbers(rest))
	}
	if m.groups == 0 || limit.Parts {
		var before Lease
		for i := range l.Blocks[:len(l.Blocks)-1] {
			before.add(&l.Blocks[i])
		}
		if !limit.allows(&before) {
			t.Fatalf("lease of %v goes on after its limit %+v", blockNumbers(l.Blocks), limit)
		}
	}
	m.leases = append(m.leases, l)
}

// taken takes out what stands at the front of a group and begins the blocks.
func (m *queueModel) taken(g element.KeyGroup, blocks []element.Block) int {
	n := 0
	for n < len(blocks) && n < len(m.queued[g]) && blocks[n].Count == m.queued[g][n] {
		n++
	}
	m.queued[g] = m.queued[g][n:]
	return n
}

func blockNumbers(blocks []element.Block) []int {
	var numbers []int
	for i := range blocks {
		numbers = append(numbers, blocks[i].Count)
	}
	return numbers
}

func (m *queueModel) lock(t *rapid.T) {
	if m.groups == 0 {
		t.Skip("no key groups")
	}
	g := element.KeyGroup(rapid.IntRange(0, m.groups-1).Draw(t, "group"))
	l, ok := m.queue.Lock(g)
	if ok == m.leased[g] || len(l.Blocks) > 0 || ok && !slices.Equal(l.Groups, []element.KeyGroup{g}) {
		t.Fatalf("lock of group %d, leased %v: got %+v and %v", g, m.leased[g], l, ok)
	}
	if ok {
		m.leased[g] = true
		m.leases = append(m.leases, l)
	}
}

func (m *queueModel) leaseGroup(t *rapid.T) {
	if m.groups == 0 {
		t.Skip("no key groups")
	}
	g := element.KeyGroup(rapid.IntRange(0, m.groups-1).Draw(t, "group"))
	limit := Limit{Bytes: rapid.Int64Range(0, 20).Draw(t, "bytes"), Parts: rapid.Bool().Draw(t, "parts")}
	l, ok := m.queue.LeaseGroup(g, limit)
	if want := !m.leased[g] && len(m.queued[g]) > 0; ok != want {
		t.Fatalf("lease of group %d, leased %v with %v: got %v", g, m.leased[g], m.queued[g], ok)
	}
	if !ok {
		return
	}
	queued := m.queued[g]
	if n := m.taken(g, l.Blocks); n == 0 || n < len(l.Blocks) || !limit.Parts && len(m.queued[g]) > 0 {
		t.Fatalf("lease of group %d: got blocks %v of %v", g, blockNumbers(l.Blocks), queued)
	}
	if !slices.Equal(l.Groups, []element.KeyGroup{g}) {
		t.Fatalf("lease of group %d has groups %v", g, l.Groups)
	}
	m.leased[g] = true
	m.leases = append(m.leases, l)
}

func (m *queueModel) settle(t *rapid.T) {
	if len(m.leases) == 0 {
		t.Skip("nothing is leased")
	}
	i := rapid.IntRange(0, len(m.leases)-1).Draw(t, "lease")
	for _, g := range m.leases[i].Groups {
		delete(m.leased, g)
	}
	m.queue.Settle(m.leases[i])
	m.leases = slices.Delete(m.leases, i, i+1)
}

// giveBack returns blocks to the front of a group.
func (m *queueModel) giveBack(t *rapid.T) {
	g := element.Unkeyed
	if m.groups > 0 {
		g = element.KeyGroup(rapid.IntRange(0, m.groups-1).Draw(t, "group"))
	}
	var blocks []element.Block
	var numbers []int
	for range rapid.IntRange(0, 3).Draw(t, "blocks") {
		m.next++
		blocks = append(blocks, numbered(m.next))
		numbers = append(numbers, m.next)
	}
	m.queue.Return(g, blocks)
	m.queued[g] = append(numbers, m.queued[g]...)
}

// detach takes out all there is, looks at it and puts it back.
func (m *queueModel) detach(t *rapid.T) {
	count, size := m.queue.Count(), m.queue.Bytes()
	all := m.queue.Detach()
	if m.queue.Count() != 0 || m.queue.Bytes() != 0 || m.queue.Available() || all.Count() != count || all.Bytes() != size {
		t.Fatalf("%d elements are left of %d, %d are detached", m.queue.Count(), count, all.Count())
	}
	for all.Available() {
		l := all.Lease(Limit{Bytes: 1 << 30, Elements: 1}) // of one group
		g := element.Unkeyed
		if m.groups > 0 {
			g = l.Groups[0]
		}
		for i, b := range l.Blocks {
			if b.Count != m.queued[g][0] {
				t.Fatalf("detached block %d at %d, want %d", b.Count, i, m.queued[g][0])
			}
			m.queue.Push(g, b)
			m.queued[g] = append(m.queued[g][1:], b.Count)
		}
		all.Settle(l)
	}
}

func (m *queueModel) check(t *rapid.T) {
	var count, size, resident int64
	available := false
	for g, numbers := range m.queued {
		for _, n := range numbers {
			count += int64(n)
			size += int64(n % 7)
			if n%2 == 0 {
				resident += int64(n % 7)
			}
		}
		available = available || len(numbers) > 0 && !m.leased[g]
	}
	if m.queue.Count() != count || m.queue.Bytes() != size || m.queue.Available() != available {
		t.Fatalf("queue has %d elements, %d bytes, available %v; want %d, %d, %v",
			m.queue.Count(), m.queue.Bytes(), m.queue.Available(), count, size, available)
	}
	if got := m.queue.Resident(); got != resident {
		t.Fatalf("%d bytes are in memory, want %d", got, resident)
	}
	for g := range element.KeyGroup(m.groups) {
		if got := m.queue.Locked(g); got != m.leased[g] {
			t.Fatalf("group %d: locked %v, want %v", g, got, m.leased[g])
		}
	}
}

// Each element is in one place, the blocks of a group stay in order, and no
// group is in two leases.
func TestQueueAgainstModel(t *testing.T) {
	for _, groups := range []int{0, 1, 5} {
		t.Run(fmt.Sprintf("groups=%d", groups), rapid.MakeCheck(func(t *rapid.T) {
			m := &queueModel{
				queue: NewQueue(groups), groups: groups,
				queued: make(map[element.KeyGroup][]int), leased: make(map[element.KeyGroup]bool),
			}
			t.Repeat(map[string]func(*rapid.T){
				"push": m.push, "lease": m.lease, "lock": m.lock, "lease group": m.leaseGroup, "settle": m.settle,
				"give back": m.giveBack, "detach": m.detach, "": m.check,
			})
		}))
	}
}

// A queue that is pushed to and leased from for ever keeps nothing.
func TestQueueKeepsNothingOfWhatWasLeased(t *testing.T) {
	q := NewQueue(0)
	q.Push(element.Unkeyed, element.Block{Count: 1})
	for range 10_000 {
		q.Push(element.Unkeyed, element.Block{Count: 1})
		q.Settle(q.Lease(Limit{Bytes: 1, Elements: 1}))
	}
	if q.Count() != 1 || cap(q.groups[0].blocks) > 16 || cap(q.ready) > 16 {
		t.Errorf("%d elements in room for %d blocks, %d groups ready", q.Count(), cap(q.groups[0].blocks), cap(q.ready))
	}
}
