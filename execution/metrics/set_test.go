package metrics

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

func ints(vs ...int64) []byte {
	var b []byte
	for _, v := range vs {
		b = appendVarint(b, v)
	}
	return b
}

func doubles(b []byte, vs ...float64) []byte {
	for _, v := range vs {
		b = appendDouble(b, v)
	}
	return b
}

func strs(vs ...string) []byte {
	b := count(len(vs))
	for _, v := range vs {
		b = append(appendVarint(b, int64(len(v))), v...)
	}
	return b
}

// path is a bounded trie of a single path, as SDKs send it.
func path(bound int, parts ...string) []byte {
	b := firstField(uint64(bound))
	for _, p := range parts {
		b = appendBytesField(b, trieSingleton, p)
	}
	return b
}

func buckets(options string, counts ...int64) []byte {
	total := int64(0)
	var packed []byte
	for _, c := range counts {
		total += c
		packed = appendVarint(packed, c)
	}
	b := firstField(uint64(total))
	b = appendBytesField(b, histogramOptions, options)
	return appendBytesField(b, histogramBuckets, packed)
}

func TestMerge(t *testing.T) {
	many := func(n int) []byte { return strs(slices.Repeat([]string{"x"}, n)...) }
	tests := []struct {
		typ      string
		payloads [][]byte
		want     []byte
	}{
		{typeSumInt64, [][]byte{ints(3), ints(-5)}, ints(-2)},
		{typeSumDouble, [][]byte{doubles(nil, 0.5), doubles(nil, 2)}, doubles(nil, 2.5)},
		{typeDistInt64, [][]byte{ints(2, 5, 1, 4), ints(1, -7, -7, -7)}, ints(3, -2, -7, 4)},
		{
			typeDistInt64, // an empty one has no extremes
			[][]byte{ints(0, 0, math.MaxInt64, math.MinInt64), ints(1, 7, 7, 7), ints(0, 0, 0, 0)}, ints(1, 7, 7, 7),
		},
		{
			typeDistInt64, // TypeScript's form, in which an answer must be too
			[][]byte{append(count(4), ints(2, 5, 1, 4)...), append(count(4), ints(1, -7, -7, -7)...)},
			append(count(4), ints(3, -2, -7, 4)...),
		},
		{
			typeDistDouble,
			[][]byte{doubles(ints(1), 2, 2, 2), doubles(ints(2), 1, -1, 2)},
			doubles(ints(3), 3, -1, 2),
		},
		{typeLatestInt64, [][]byte{ints(100, 1), ints(300, 3), ints(200, 9)}, ints(300, 3)},
		{typeLatestInt64, [][]byte{ints(100, 5), ints(100, 2)}, ints(100, 5)},
		{typeLatestDouble, [][]byte{doubles(ints(5), 1.5), doubles(ints(4), 2.5)}, doubles(ints(5), 1.5)},
		{
			typeTopInt64,
			[][]byte{append(count(2), ints(5, 1)...), append(count(1), ints(3)...)},
			append(count(2), ints(5, 3)...),
		},
		{
			typeBottomDouble,
			[][]byte{doubles(count(2), 5, 7), doubles(count(1), -3)},
			doubles(count(2), -3, 5),
		},
		{typeSetString, [][]byte{strs("b", "a"), strs("c", "a")}, strs("a", "b", "c")},
		{typeSetString, [][]byte{many(3)}, strs("x")},
		{
			typeSetString, // a count of -1 announces chunks
			[][]byte{slices.Concat([]byte{0xff, 0xff, 0xff, 0xff}, ints(1, 1), []byte("q"), ints(1, 1), []byte("p"), ints(0))},
			strs("p", "q"),
		},
		{typeHistogram, [][]byte{buckets("lin", 1, 0, 2), buckets("lin", 0, 5)}, buckets("lin", 1, 5, 2)},
		{"beam:metrics:progress:v1", [][]byte{{1, 2}, {3}}, []byte{3}},
		{"user:unknown", [][]byte{nil, []byte("new")}, []byte("new")},
	}
	for i, tt := range tests {
		t.Run(fmt.Sprintf("%d/%s", i, tt.typ), func(t *testing.T) {
			var s Set
			for _, p := range tt.payloads {
				if err := s.Add([]Info{{URN: "u", Type: tt.typ, Payload: p}}); err != nil {
					t.Fatal(err)
				}
			}
			got := s.Infos()
			if len(got) != 1 || !bytes.Equal(got[0].Payload, tt.want) {
				t.Fatalf("merged to %x, want %x", got, tt.want)
			}
		})
	}
}

// paths lists a trie's paths; a cut one ends in an asterisk.
func paths(t *testing.T, payload []byte) []string {
	t.Helper()
	c, err := decodeTrie(payload)
	if err != nil {
		t.Fatal(err)
	}
	tr, ok := c.(*trie)
	if !ok {
		t.Fatalf("not a trie: %T", c)
	}
	var out []string
	var walk func(n *node, prefix string)
	walk = func(n *node, prefix string) {
		switch {
		case n.cut:
			out = append(out, prefix+"*")
		case len(n.children) == 0:
			out = append(out, prefix)
		}
		for k, c := range n.children {
			walk(c, prefix+"/"+k)
		}
	}
	if tr.root != nil {
		walk(tr.root, "")
	}
	slices.Sort(out)
	return out
}

func TestTrie(t *testing.T) {
	tests := []struct {
		name string
		add  [][]byte
		want []string
	}{
		{"empty", [][]byte{nil, {}}, nil},
		{"one", [][]byte{path(10, "a", "b")}, []string{"/a/b"}},
		{"two", [][]byte{path(10, "a", "b"), path(10, "a", "c"), path(10, "d")}, []string{"/a/b", "/a/c", "/d"}},
		{"prefix", [][]byte{path(10, "a"), path(10, "a", "c")}, []string{"/a/c"}},
		{
			"cut at the bound",
			[][]byte{path(3, "a", "1"), path(3, "a", "2"), path(3, "a", "3"), path(3, "b", "1")},
			[]string{"/a*", "/b/1"},
		},
		{
			"cut swallows",
			[][]byte{path(2, "a", "1"), path(2, "a", "2"), path(2, "a", "3"), path(2, "a", "4", "5")},
			[]string{"/a*"},
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var s Set
			for _, p := range tt.add {
				if err := s.Add([]Info{{URN: "u", Type: typeTrie, Payload: p}}); err != nil {
					t.Fatal(err)
				}
			}
			if diff := cmp.Diff(tt.want, paths(t, s.Infos()[0].Payload)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestRefusedInfosLeaveNoTrace(t *testing.T) {
	var s Set
	good := Info{URN: "u", Type: typeSumInt64, Payload: ints(1)}
	if err := s.Add([]Info{good}); err != nil {
		t.Fatal(err)
	}
	deep := strings.Repeat("x", trieDepthMax+1)
	tests := []struct {
		info Info
		want error
	}{
		{Info{URN: "u", Type: typeSumInt64}, ErrMalformed},
		{Info{URN: "u", Type: typeSumInt64, Payload: append(ints(1), 0)}, ErrMalformed},
		{Info{URN: "u", Type: typeSumInt64, Payload: bytes.Repeat([]byte{0xff}, 11)}, ErrMalformed},
		{Info{URN: "u", Type: typeDistInt64, Payload: ints(1, 2, 3)}, ErrMalformed},
		{Info{URN: "u", Type: typeDistInt64, Payload: append(count(4), ints(1, 2, 3)...)}, ErrMalformed},
		{Info{URN: "u", Type: typeSetString, Payload: []byte{0, 0, 0, 9}}, ErrMalformed},
		{Info{URN: "u", Type: typeSetString, Payload: []byte{0xff, 0xff, 0xff, 0xfe}}, ErrMalformed},
		{Info{URN: "u", Type: typeSetString, Payload: append([]byte{0x7f, 0xff, 0xff, 0xff}, 0)}, ErrMalformed},
		{Info{URN: "u", Type: typeTrie, Payload: []byte{0x12, 9}}, ErrMalformed},
		{Info{URN: "u", Type: typeTrie, Payload: path(1, strings.Split(deep, "")...)}, ErrMalformed},
		{Info{URN: "u", Type: typeHistogram, Payload: []byte{0x1a, 1, 0x80}}, ErrMalformed},
		{Info{URN: "u", Type: typeDistInt64, Payload: ints(1, 2, 3, 4)}, ErrTypeChanged},
	}
	for _, tt := range tests {
		if err := s.Add([]Info{tt.info}); !errors.Is(err, tt.want) || !strings.Contains(err.Error(), "u") {
			t.Errorf("%s %x: %v, want %v", tt.info.Type, tt.info.Payload, err, tt.want)
		}
	}
	if diff := cmp.Diff([]Info{good}, s.Infos()); diff != "" {
		t.Errorf("the set has changed: %s", diff)
	}
}

func TestHistogramsWithOtherBucketsAreRefused(t *testing.T) {
	var s Set
	err := s.Add([]Info{
		{URN: "h", Type: typeHistogram, Payload: buckets("a", 1)},
		{URN: "h", Type: typeHistogram, Payload: buckets("b", 1)},
	})
	if !errors.Is(err, ErrTypeChanged) {
		t.Fatal(err)
	}
	if got := s.Infos()[0].Payload; !bytes.Equal(got, buckets("a", 1)) {
		t.Errorf("%x", got)
	}
}

func TestStringSetIsBounded(t *testing.T) {
	var s Set
	for i := range 5 {
		text := strings.Repeat(string(rune('a'+i)), MaxStringSetBytes/2)
		if err := s.Add([]Info{{URN: "s", Type: typeSetString, Payload: strs(text)}}); err != nil {
			t.Fatal(err)
		}
	}
	if n := len(s.Infos()[0].Payload); n > MaxStringSetBytes+100 {
		t.Errorf("set of %d bytes", n)
	}
}

func TestSetIsKeyedByURNAndLabels(t *testing.T) {
	one := func(urn string, labels map[string]string) Info {
		return Info{URN: urn, Type: typeSumInt64, Labels: labels, Payload: ints(1)}
	}
	var s Set
	err := s.Add([]Info{
		one("b", nil), one("a", map[string]string{"x": "1", "y": "2"}), one("a", map[string]string{"y": "2", "x": "1"}),
		one("a", map[string]string{"x": "1y", "": "2"}), one("a", map[string]string{"x": "2"}),
	})
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, in := range s.Infos() {
		v, _ := binary.Uvarint(in.Payload)
		got = append(got, fmt.Sprintf("%s %v = %d", in.URN, in.Labels, v))
	}
	want := []string{"a map[:2 x:1y] = 1", "a map[x:2] = 1", "a map[x:1 y:2] = 2", "b map[] = 1"}
	slices.Sort(got)
	slices.Sort(want)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if s.Len() != len(want) {
		t.Errorf("%d infos", s.Len())
	}
}

// TestOrderDoesNotMatter merges the same values in two orders and groupings.
func TestOrderDoesNotMatter(t *testing.T) {
	value := rapid.Int64Range(-1000, 1000)
	info := rapid.Custom(func(t *rapid.T) Info {
		in := Info{URN: rapid.SampledFrom([]string{"a", "b"}).Draw(t, "urn")}
		in.Type = rapid.SampledFrom([]string{
			typeSumInt64, typeDistInt64, typeLatestInt64, typeTopInt64, typeBottomInt64, typeSetString, typeHistogram,
		}).Draw(t, "type")
		in.URN += in.Type
		v := value.Draw(t, "v")
		switch in.Type {
		case typeSumInt64:
			in.Payload = ints(v)
		case typeDistInt64:
			in.Payload = ints(1, v, v, v)
		case typeLatestInt64:
			in.Payload = ints(value.Draw(t, "at")+1000, v)
		case typeTopInt64, typeBottomInt64:
			in.Payload = append(count(2), ints(v, value.Draw(t, "w"))...)
		case typeSetString:
			in.Payload = strs(fmt.Sprint(v))
		case typeHistogram:
			in.Payload = buckets("o", v+1000, 1)
		}
		return in
	})
	rapid.Check(t, func(t *rapid.T) {
		infos := rapid.SliceOfN(info, 1, 30).Draw(t, "infos")
		cut := rapid.IntRange(0, len(infos)).Draw(t, "cut")
		var all, left, right Set
		if err := errors.Join(all.Add(infos), left.Add(infos[:cut]), right.Add(infos[cut:])); err != nil {
			t.Fatal(err)
		}
		if err := right.Merge(&left); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(all.Infos(), right.Infos()); diff != "" {
			t.Fatal(diff)
		}
	})
}

// The parts of a transform are one to the user, and so are their metrics.
func TestRename(t *testing.T) {
	in := func(urn, transform string, payload []byte) Info {
		return Info{URN: urn, Type: typeSumInt64, Labels: map[string]string{"PTRANSFORM": transform, "NAME": "n"}, Payload: payload}
	}
	infos := []Info{
		in("u", "t1/Merge", ints(1)), in("u", "t1/Precombine", ints(2)), in("u", "other", ints(4)), in("v", "t1/Merge", ints(8)),
		{URN: "w", Type: typeSumInt64, Payload: ints(16)},
		in("u", "port", ints(32)),
	}
	before := slices.Clone(infos)
	got, err := Rename(infos, "PTRANSFORM", func(id string) (string, bool) {
		if strings.HasPrefix(id, "t1/") {
			return "Sum", true
		}
		return id, id != "port"
	})
	want := []Info{
		in("u", "Sum", ints(3)), in("u", "other", ints(4)), in("v", "Sum", ints(8)),
		{URN: "w", Type: typeSumInt64, Payload: ints(16)},
	}
	if diff := cmp.Diff(want, got); diff != "" || err != nil {
		t.Error(diff, err)
	}
	if diff := cmp.Diff(before, infos); diff != "" || infos[0].Labels["PTRANSFORM"] != "t1/Merge" {
		t.Errorf("the infos given have changed: %s", diff)
	}
	infos[1].Type = typeLatestInt64
	infos[1].Payload = ints(1, 2)
	if got, err = Rename(infos, "PTRANSFORM", func(string) (string, bool) { return "Sum", true }); !errors.Is(err, ErrTypeChanged) || len(got) != 3 {
		t.Errorf("%v, %v", got, err)
	}
}

func FuzzSet(f *testing.F) {
	types := []string{
		typeSumInt64, typeSumDouble, typeDistInt64, typeDistDouble, typeLatestInt64, typeLatestDouble, typeTopInt64,
		typeTopDouble, typeBottomInt64, typeBottomDouble, typeSetString, typeTrie, typeHistogram, "unknown",
	}
	f.Add(uint8(0), ints(3), ints(4))
	f.Add(uint8(3), doubles(ints(1), 2, 2, 2), doubles(ints(2), 1, -1, 2))
	f.Add(uint8(10), strs("a", "b"), strs("b"))
	f.Add(uint8(11), path(3, "a", "b"), path(2, "a", "c"))
	f.Add(uint8(12), buckets("x", 1, 2), buckets("x", 3))
	f.Fuzz(func(t *testing.T, typ uint8, a, b []byte) {
		name := types[int(typ)%len(types)]
		var s Set
		for _, p := range [][]byte{a, b} {
			_ = s.Add([]Info{{URN: "u", Type: name, Payload: p}}) // may be refused, must not panic
		}
		// What the set yields, it accepts, and yields again.
		var again Set
		first := s.Infos()
		if err := again.Add(first); err != nil {
			t.Fatalf("%s: own payload refused: %v", name, err)
		}
		if diff := cmp.Diff(first, again.Infos()); diff != "" {
			t.Fatalf("%s: not stable: %s", name, diff)
		}
	})
}

func BenchmarkAdd(b *testing.B) {
	var infos []Info
	for i := range 100 {
		infos = append(infos, Info{
			URN: "beam:metric:user:sum_int64:v1", Type: typeSumInt64, Payload: ints(int64(i)),
			Labels: map[string]string{"PTRANSFORM": fmt.Sprint(i), "NAMESPACE": "n", "NAME": "m"},
		})
	}
	var s Set
	b.ReportAllocs()
	for b.Loop() {
		if err := s.Add(infos); err != nil {
			b.Fatal(err)
		}
	}
}
