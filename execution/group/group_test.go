package group_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/gorunner/gorunner/coder"
	"github.com/gorunner/gorunner/element"
	"github.com/gorunner/gorunner/execution/group"
	"github.com/gorunner/gorunner/plan"
	"github.com/gorunner/gorunner/shuffle"
)

// span is the interval window [start, end).
type span struct{ start, end element.EventTime }

func (s span) encode(b []byte) []byte {
	return appendUvarint(coder.PutTime(b, s.end), uint64(s.end-s.start))
}

func appendUvarint(b []byte, v uint64) []byte {
	for v >= 0x80 {
		b = append(b, byte(v)|0x80)
		v >>= 7
	}
	return append(b, byte(v))
}

// record is an element to group.
type record struct {
	at         element.EventTime
	windows    []span // one that is zero stands for the global window
	key, value string
}

func (r record) encode(b []byte) []byte {
	var windows []byte
	for _, w := range r.windows {
		if w != (span{}) {
			windows = w.encode(windows)
		}
	}
	b = coder.PutHeader(b, element.Header{
		Timestamp: r.at, Windows: windows, NumWindows: len(r.windows), Pane: []byte{coder.PaneOnlyFiring},
	})
	b = append(appendUvarint(b, uint64(len(r.key))), r.key...)
	return append(appendUvarint(b, uint64(len(r.value))), r.value...)
}

// result is a grouped element; its values are sorted where the order of input
// means nothing.
type result struct {
	at     element.EventTime
	window span
	key    string
	values []string
}

func compareResults(a, b result) int {
	return strings.Compare(
		fmt.Sprintf("%q %020d %020d", a.key, a.window.start, a.window.end),
		fmt.Sprintf("%q %020d %020d", b.key, b.window.start, b.window.end))
}

// reader decodes what a grouper emits, and checks its form.
type reader struct {
	window *coder.Coder
	params group.Params
	// pages and blocks count what was seen.
	pages, blocks int
	results       []result
}

var errForm = errors.New("wrong form")

func (r *reader) block(b element.Block) error {
	r.blocks++
	layout := shuffle.Layout{
		Value: coder.Must(coder.KV, coder.Must(coder.Bytes),
			coder.Must(coder.StateBackedIterable, coder.Must(coder.Bytes))),
		Window: r.window,
	}
	whole, err := layout.MakeBlock(b.Data)
	switch {
	case err != nil:
		return err
	case whole.Count != b.Count || whole.MinTime != b.MinTime:
		return fmt.Errorf("%w: block of %d elements from %v says %d from %v", errForm,
			whole.Count, whole.MinTime, b.Count, b.MinTime)
	case b.Count > 1 && len(b.Data) > r.params.BlockBytes+1024:
		return fmt.Errorf("%w: block of %d elements has %d bytes", errForm, b.Count, len(b.Data))
	}
	pages := make(map[string]*element.Page)
	for _, p := range b.Pages {
		pages[p.Token] = p
	}
	for at := 0; at < len(b.Data); {
		e, err := layout.Cut(b.Data[at:])
		if err != nil {
			return err
		}
		at += e.Size
		if err := r.element(e, pages); err != nil {
			return err
		}
	}
	if len(pages) > 0 {
		return fmt.Errorf("%w: %d pages that no element refers to", errForm, len(pages))
	}
	return nil
}

func (r *reader) element(e shuffle.Element, pages map[string]*element.Page) error {
	if e.Header.NumWindows != 1 || string(e.Header.Pane) != "\x07" {
		return fmt.Errorf("%w: %d windows, pane %x", errForm, e.Header.NumWindows, e.Header.Pane)
	}
	out := result{at: e.Header.Timestamp}
	if r.window.Kind() == coder.IntervalWindow {
		end, err := coder.Time(e.Header.Windows)
		if err != nil {
			return err
		}
		length, _ := cutUvarint(string(e.Header.Windows[8:]))
		out.window = span{end - element.EventTime(length), end}
	}
	key, rest := cutBytes(string(e.Value))
	out.key = key
	count, rest := rest[:4], rest[4:]
	if count != "\xff\xff\xff\xff" {
		for rest != "" {
			var value string
			value, rest = cutBytes(rest)
			out.values = append(out.values, value)
		}
		if n := int(count[2])<<8 | int(count[3]); n != len(out.values) {
			return fmt.Errorf("%w: %d values, says %d", errForm, len(out.values), n)
		}
		r.results = append(r.results, out)
		return nil
	}
	const token = "\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"
	if !strings.HasPrefix(rest, token) {
		return fmt.Errorf("%w: no token in %q", errForm, rest)
	}
	name, rest := cutBytes(rest[len(token):])
	page := pages[name]
	if page == nil || rest != "" {
		return fmt.Errorf("%w: no page %q, or rest %q", errForm, name, rest)
	}
	delete(pages, name)
	r.pages++
	values, err := r.page(page)
	out.values = values
	r.results = append(r.results, out)
	return err
}

// page returns the values of a page, each of whose chunks must be whole.
func (r *reader) page(page *element.Page) (values []string, err error) {
	total := 0
	for i := range page.Chunks {
		chunk, err := page.Chunks[i].Load()
		if err != nil {
			return nil, err
		}
		if len(chunk) == 0 {
			return nil, fmt.Errorf("%w: empty chunk", errForm)
		}
		total += len(chunk)
		n := len(values)
		for rest := string(chunk); rest != ""; {
			var value string
			value, rest = cutBytes(rest)
			values = append(values, value)
		}
		if len(chunk) > r.params.BlockBytes && len(values) > n+1 {
			return nil, fmt.Errorf("%w: chunk of %d bytes", errForm, len(chunk))
		}
	}
	if total <= r.params.PagedBytes {
		return nil, fmt.Errorf("%w: a page for %d bytes", errForm, total)
	}
	return values, nil
}

func cutUvarint(s string) (v uint64, rest string) {
	for i := 0; ; i++ {
		v |= uint64(s[i]&0x7f) << (7 * i)
		if s[i] < 0x80 {
			return v, s[i+1:]
		}
	}
}

func cutBytes(s string) (value, rest string) {
	n, s := cutUvarint(s)
	return s[:n], s[n:]
}

// strategy is a case of the tests: a WindowFn and how it assigns.
type strategy struct {
	fn     plan.WindowFn
	coder  coder.Kind
	assign func(at element.EventTime) []span
}

func windowings() map[string]strategy {
	const ms = time.Millisecond
	floor := func(at, size element.EventTime) element.EventTime { return at - ((at%size)+size)%size }
	return map[string]strategy{
		"global": {plan.GlobalWindows{}, coder.GlobalWindow, func(element.EventTime) []span { return []span{{}} }},
		"fixed": {plan.FixedWindows{Size: 10 * ms}, coder.IntervalWindow, func(at element.EventTime) []span {
			start := floor(at, 10)
			return []span{{start, start + 10}}
		}},
		"sliding": {
			plan.SlidingWindows{Size: 10 * ms, Period: 3 * ms},
			coder.IntervalWindow,
			func(at element.EventTime) (windows []span) {
				for start := floor(at, 3); start+10 > at; start -= 3 {
					windows = append(windows, span{start, start + 10})
				}
				return windows
			},
		},
		"sessions": {plan.Sessions{Gap: 4 * ms}, coder.IntervalWindow, func(at element.EventTime) []span {
			return []span{{at, at + 4}}
		}},
	}
}

// naive groups by definition.
func naive(records []record, sessions bool, output plan.OutputTime) []result {
	var results []result
	times := make(map[int][]element.EventTime)
	for _, r := range records {
		for _, w := range r.windows {
			i := slices.IndexFunc(results, func(g result) bool { return g.key == r.key && g.window == w })
			if i < 0 {
				i = len(results)
				results = append(results, result{key: r.key, window: w})
			}
			results[i].values = append(results[i].values, r.value)
			times[i] = append(times[i], r.at)
		}
	}
	if sessions {
		for mergeTwo(&results, times) {
		}
	}
	for i := range results {
		end := results[i].window.end - 1
		if results[i].window == (span{}) {
			end = element.EndOfGlobalWindow
		}
		switch output {
		case plan.EndOfWindow:
			results[i].at = end
		case plan.Earliest:
			results[i].at = slices.Min(times[i])
		case plan.Latest:
			results[i].at = slices.Max(times[i])
		}
		if sessions {
			slices.Sort(results[i].values)
		}
	}
	return results
}

// mergeTwo joins two sessions of a key that intersect, if there are any.
func mergeTwo(results *[]result, times map[int][]element.EventTime) bool {
	for i := range *results {
		for j := range i {
			a, b := &(*results)[j], &(*results)[i]
			if a.key != b.key || a.window.end <= b.window.start || b.window.end <= a.window.start {
				continue
			}
			a.window = span{min(a.window.start, b.window.start), max(a.window.end, b.window.end)}
			a.values = append(a.values, b.values...)
			times[j] = append(times[j], times[i]...)
			for k := i; k < len(*results)-1; k++ {
				times[k] = times[k+1]
			}
			*results = slices.Delete(*results, i, i+1)
			return true
		}
	}
	return false
}

func kind(w strategy, output plan.OutputTime) *plan.GroupByKey {
	return &plan.GroupByKey{
		Windowing:   &plan.Windowing{Fn: w.fn, Window: coder.Must(w.coder), OutputTime: output},
		Key:         coder.Must(coder.Bytes),
		Value:       coder.Must(coder.Bytes),
		PagedValues: true,
	}
}

// tokens names pages p1, p2 and so on, from any goroutine.
func tokens() func() string {
	var mu sync.Mutex
	n := 0
	return func() string {
		mu.Lock()
		defer mu.Unlock()
		n++
		return fmt.Sprint("p", n)
	}
}

func drawRecords(t *rapid.T, w strategy) []record {
	records := make([]record, rapid.IntRange(0, 80).Draw(t, "records"))
	for i := range records {
		r := &records[i]
		r.at = element.EventTime(rapid.Int64Range(-30, 60).Draw(t, "timestamp"))
		r.windows = w.assign(r.at)
		if rapid.IntRange(0, 20).Draw(t, "drop") == 0 {
			r.windows = nil
		}
		r.key = rapid.SampledFrom([]string{"", "a", "b", "a\x00", "key"}).Draw(t, "key")
		if rapid.Bool().Draw(t, "empty") {
			continue
		}
		r.value = fmt.Sprint(i) + strings.Repeat("v", rapid.SampledFrom([]int{0, 0, 0, 200}).Draw(t, "size"))
	}
	return records
}

// cutIntoBlocks puts the records into blocks at random.
func cutIntoBlocks(t *rapid.T, records []record) []element.Block {
	blocks := []element.Block{{MinTime: element.MaxTime}}
	for _, r := range records {
		if rapid.IntRange(0, 4).Draw(t, "cut") == 0 {
			blocks = append(blocks, element.Block{MinTime: element.MaxTime})
		}
		b := &blocks[len(blocks)-1]
		b.Data = r.encode(b.Data)
		b.Count++
		b.MinTime = min(b.MinTime, r.at)
	}
	return blocks
}

// runAndClear reads what is grouped once the input's memory has been used again:
// nothing may refer to it.
func runAndClear(t *rapid.T, g *group.Grouper, input []element.Block, r *reader) {
	var out []element.Block
	err := g.Run(t.Context(), input, func(b element.Block) error {
		out = append(out, b)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, b := range input {
		clear(b.Data)
	}
	for _, b := range out {
		if err := r.block(b); err != nil {
			t.Fatal(err)
		}
	}
}

func TestGroupAgainstDefinition(t *testing.T) {
	for name, w := range windowings() {
		for _, output := range []plan.OutputTime{plan.EndOfWindow, plan.Latest, plan.Earliest} {
			t.Run(fmt.Sprint(name, "/", int(output)), rapid.MakeCheck(func(t *rapid.T) {
				params := group.Params{
					PagedBytes: rapid.SampledFrom([]int{0, 10, 300}).Draw(t, "paged"),
					BlockBytes: rapid.SampledFrom([]int{1, 150, 1 << 20}).Draw(t, "block"),
					Token:      tokens(),
				}
				g, err := group.New(kind(w, output), params)
				if err != nil {
					t.Fatal(err)
				}
				records := drawRecords(t, w)
				r := &reader{window: coder.Must(w.coder), params: params}
				runAndClear(t, g, cutIntoBlocks(t, records), r)
				want := naive(records, name == "sessions", output)
				if name == "sessions" {
					for i := range r.results {
						slices.Sort(r.results[i].values)
					}
				}
				slices.SortFunc(want, compareResults)
				slices.SortFunc(r.results, compareResults)
				if diff := cmp.Diff(want, r.results, cmp.AllowUnexported(result{}, span{})); diff != "" {
					t.Fatalf("grouped (-want +got):\n%s", diff)
				}
			}))
		}
	}
}

// run groups records in one block.
func run(t *testing.T, kind *plan.GroupByKey, params group.Params, records ...record) *reader {
	t.Helper()
	g, err := group.New(kind, params)
	if err != nil {
		t.Fatal(err)
	}
	var b element.Block
	for _, r := range records {
		b.Data = r.encode(b.Data)
		b.Count++
	}
	if params.BlockBytes == 0 {
		params.BlockBytes = 1 << 20
	}
	r := &reader{window: kind.Windowing.Window, params: params}
	if err := g.Run(t.Context(), []element.Block{b}, r.block); err != nil {
		t.Fatal(err)
	}
	return r
}

// Sessions that touch stay apart, as in the model: the end is not part of a
// window.
func TestSessionsMerge(t *testing.T) {
	sessions := windowings()["sessions"]
	tests := []struct {
		name string
		in   []span
		want []span
	}{
		{"one", []span{{0, 4}}, []span{{0, 4}}},
		{"touching", []span{{0, 4}, {4, 8}}, []span{{0, 4}, {4, 8}}},
		{"touching, later first", []span{{4, 8}, {0, 4}}, []span{{0, 4}, {4, 8}}},
		{"overlapping by 1 ms", []span{{0, 4}, {3, 7}}, []span{{0, 7}}},
		{"bridged by the last", []span{{0, 4}, {6, 10}, {3, 7}}, []span{{0, 10}}},
		{"contained", []span{{0, 100}, {10, 20}, {50, 60}, {99, 103}}, []span{{0, 103}}},
		{"equal", []span{{0, 4}, {0, 4}}, []span{{0, 4}}},
		{"same start", []span{{0, 4}, {0, 9}, {8, 12}}, []span{{0, 12}}},
		{"before 1970", []span{{-8, -4}, {-5, -1}, {-1, 3}}, []span{{-8, -1}, {-1, 3}}},
		{
			"at the limits of time",
			[]span{{element.MinTime, element.MinTime + 4}, {element.MaxTime - 4, element.MaxTime}},
			[]span{{element.MinTime, element.MinTime + 4}, {element.MaxTime - 4, element.MaxTime}},
		},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			var records []record
			for _, w := range test.in {
				records = append(records,
					record{at: w.start, windows: []span{w}, key: "k", value: "v"},
					record{at: w.start, windows: []span{w}, key: fmt.Sprint("alone in ", w), value: "v"})
			}
			r := run(t, kind(sessions, plan.EndOfWindow), group.Params{}, records...)
			var got []span
			values := 0
			for _, g := range r.results {
				if g.key == "k" {
					got = append(got, g.window)
					values += len(g.values)
				} else if g.key != fmt.Sprint("alone in ", g.window) {
					t.Errorf("key %q has the window %v", g.key, g.window)
				}
			}
			slices.SortFunc(got, func(a, b span) int { return int(a.start - b.start) })
			if !slices.Equal(got, test.want) || values != len(test.in) {
				t.Errorf("got windows %v with %d values, want %v with %d", got, values, test.want, len(test.in))
			}
		})
	}
}

// Keys and values of coders without bytes are keys and values.
func TestGroupOfNothings(t *testing.T) {
	nothing := coder.Must(coder.GlobalWindow)
	k := kind(windowings()["global"], plan.EndOfWindow)
	k.Key, k.Value = nothing, nothing
	g, err := group.New(k, group.Params{})
	if err != nil {
		t.Fatal(err)
	}
	one := coder.PutHeader(nil, element.Header{NumWindows: 1, Pane: []byte{coder.PaneOnlyFiring}})
	input := []element.Block{{Data: slices.Repeat(one, 3), Count: 3}, {}, {Data: one, Count: 1}}
	var got []element.Block
	err = g.Run(t.Context(), input, func(b element.Block) error {
		got = append(got, b)
		return nil
	})
	want := coder.PutHeader(nil, element.Header{Timestamp: element.EndOfGlobalWindow, NumWindows: 1, Pane: []byte{7}})
	want = append(want, 0, 0, 0, 4)
	if err != nil || len(got) != 1 || string(got[0].Data) != string(want) {
		t.Errorf("got %d blocks and error %v, want one of %q", len(got), err, want)
	}
}

func TestGroupOfNothingAtAll(t *testing.T) {
	r := run(t, kind(windowings()["fixed"], plan.EndOfWindow), group.Params{})
	if r.blocks != 0 {
		t.Errorf("%d blocks for no input", r.blocks)
	}
}

// One key with values of 1 MB in all, read in pages of 10 KB.
func TestGroupPagesValues(t *testing.T) {
	k := kind(windowings()["global"], plan.EndOfWindow)
	params := group.Params{PagedBytes: 100_000, BlockBytes: 10_000, Token: tokens()}
	var records []record
	for i := range 1000 {
		records = append(records,
			record{windows: []span{{}}, key: "big", value: fmt.Sprintf("%01000d", i)},
			record{windows: []span{{}}, key: fmt.Sprint(i), value: "small"})
	}
	r := run(t, k, params, records...)
	if r.pages != 1 || len(r.results) != 1001 {
		t.Errorf("got %d pages in %d elements, want 1 in 1001", r.pages, len(r.results))
	}
	for _, g := range r.results {
		if g.key == "big" && (len(g.values) != 1000 || g.values[999] != records[1998].value) {
			t.Errorf("%d values in the page", len(g.values))
		}
	}
	t.Run("only where the plan allows it", func(t *testing.T) {
		k.PagedValues = false
		if r := run(t, k, params, records...); r.pages != 0 || len(r.results) != 1001 {
			t.Errorf("got %d pages in %d elements, want 0 in 1001", r.pages, len(r.results))
		}
	})
}

func TestNewRefusesWhatOnlyTheSDKCanMerge(t *testing.T) {
	w := strategy{fn: plan.CustomWindows{URN: "mine", Merging: true}, coder: coder.CustomWindow}
	if _, err := group.New(kind(w, plan.EndOfWindow), group.Params{}); err == nil || !strings.Contains(err.Error(), "mine") {
		t.Errorf("got error %v, want one that names the window fn", err)
	}
	w.fn = plan.CustomWindows{URN: "mine"}
	if _, err := group.New(kind(w, plan.EndOfWindow), group.Params{}); err != nil {
		t.Errorf("windows that do not merge: %v", err)
	}
}

func TestRunEnds(t *testing.T) {
	g, err := group.New(kind(windowings()["global"], plan.EndOfWindow), group.Params{BlockBytes: 1})
	if err != nil {
		t.Fatal(err)
	}
	var b element.Block
	for i := range 10 {
		b.Data = record{windows: []span{{}}, key: fmt.Sprint(i)}.encode(b.Data)
		b.Count++
	}
	t.Run("when its output is not wanted", func(t *testing.T) {
		errFull := errors.New("full")
		blocks := 0
		err := g.Run(t.Context(), []element.Block{b}, func(element.Block) error {
			if blocks++; blocks == 3 {
				return errFull
			}
			return nil
		})
		if !errors.Is(err, errFull) || blocks != 3 {
			t.Errorf("got error %v after %d blocks", err, blocks)
		}
	})
	t.Run("with its context", func(t *testing.T) {
		errStop := errors.New("stop")
		ctx, cancel := context.WithCancelCause(t.Context())
		cancel(errStop)
		if err := g.Run(ctx, []element.Block{b}, func(element.Block) error { return nil }); !errors.Is(err, errStop) {
			t.Errorf("got error %v, want the cause", err)
		}
	})
}

func TestRunFromManyGoroutines(t *testing.T) {
	params := group.Params{PagedBytes: 10, BlockBytes: 100, Token: tokens()}
	k := kind(windowings()["sessions"], plan.EndOfWindow)
	g, err := group.New(k, params)
	if err != nil {
		t.Fatal(err)
	}
	var wait sync.WaitGroup
	for range 8 {
		wait.Go(func() {
			var b element.Block
			for i := range 100 {
				b.Data = record{windows: []span{{0, 4}}, key: fmt.Sprint(i % 10), value: "value"}.encode(b.Data)
				b.Count++
			}
			r := &reader{window: k.Windowing.Window, params: params}
			if err := g.Run(t.Context(), []element.Block{b}, r.block); err != nil || len(r.results) != 10 {
				t.Errorf("got %d elements and error %v, want 10", len(r.results), err)
			}
		})
	}
	wait.Wait()
}

func TestRunMalformed(t *testing.T) {
	good := record{windows: []span{{0, 4}}, key: "k", value: "v"}.encode(nil)
	header := func(window string) []byte {
		b := coder.PutHeader(nil, element.Header{Windows: []byte(window), NumWindows: 1, Pane: []byte{coder.PaneOnlyFiring}})
		return append(b, 0, 0)
	}
	first := string(make([]byte, 8))
	tests := []struct {
		name string
		data []byte
		is   error
		want string
	}{
		{"cut short", append(slices.Clone(good), good[:9]...), coder.ErrShort, "element at byte 26 of a block: "},
		{"window", append(slices.Clone(good[:8]), "\xff\xff\xff\xff\x0f\x00\x00"...), coder.ErrMalformed, "element at byte 0"},
		{"session that begins before all time", header(first + "\x01"), coder.ErrMalformed, "interval window 0000"},
		{
			"session longer than all time", header(first + "\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"),
			coder.ErrMalformed, "interval window 0000",
		},
	}
	g, err := group.New(kind(windowings()["sessions"], plan.EndOfWindow), group.Params{})
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			err := g.Run(t.Context(), []element.Block{{Data: test.data, Count: 2}}, func(element.Block) error { return nil })
			if !errors.Is(err, test.is) || !strings.Contains(err.Error(), "group by key: ") || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got error %v, want one with %q", err, test.want)
			}
		})
	}
	t.Run("sessions in windows of another coder", func(t *testing.T) {
		w := windowings()["sessions"]
		w.coder = coder.CustomWindow
		g, err := group.New(kind(w, plan.EndOfWindow), group.Params{})
		if err != nil {
			return
		}
		data := header(first + "\x00")
		err = g.Run(t.Context(), []element.Block{{Data: data, Count: 1}}, func(element.Block) error { return nil })
		if err == nil || !strings.Contains(err.Error(), "custom_window") {
			t.Errorf("got error %v, want one that names the coder", err)
		}
	})
}

// FuzzRun groups any bytes.
func FuzzRun(f *testing.F) {
	all := windowings()
	names := []string{"global", "fixed", "sessions"}
	f.Add(byte(0), record{windows: []span{{}}, key: "k", value: "v"}.encode(nil))
	f.Add(byte(1), record{windows: []span{{0, 10}, {5, 15}}, key: "k", value: "v"}.encode(nil))
	f.Add(byte(2), append(
		record{windows: []span{{0, 10}}, key: "k", value: "v"}.encode(nil),
		record{windows: []span{{5, 15}}, key: "k", value: "w"}.encode(nil)...))
	f.Fuzz(func(t *testing.T, which byte, data []byte) {
		k := kind(all[names[int(which)%len(names)]], plan.Latest)
		params := group.Params{PagedBytes: 20, BlockBytes: 50, Token: tokens()}
		g, err := group.New(k, params)
		if err != nil {
			t.Fatal(err)
		}
		r := &reader{window: k.Windowing.Window, params: params}
		layout := shuffle.Layout{Value: coder.Must(coder.KV, k.Key, k.Value), Window: k.Windowing.Window}
		block, whole := layout.MakeBlock(data)
		block.Data = data
		err = g.Run(t.Context(), []element.Block{block}, r.block)
		switch {
		case errors.Is(err, errForm):
			t.Fatal(err)
		case err != nil && !errors.Is(err, coder.ErrShort) && !errors.Is(err, coder.ErrMalformed):
			t.Fatalf("error %v is neither ErrShort nor ErrMalformed", err)
		case err == nil && whole != nil:
			t.Fatalf("grouped what is not elements: %v", whole)
		}
	})
}
