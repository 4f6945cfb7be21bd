package translate_test

import (
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	pipepb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/pipeline_v1"
	"google.golang.org/protobuf/proto"

	"github.com/gorunner/gorunner/internal/invariants"
	"github.com/gorunner/gorunner/translate"
)

// checkAnswer translates whatever came in: an answer is a plan that holds, or
// one of the two errors.
func checkAnswer(t *testing.T, p *pipepb.Pipeline) {
	t.Helper()
	tr, err := translate.Translate(p, translate.Options{MaxOutputs: 1000})
	var inv *translate.InvalidError
	var un *translate.UnsupportedError
	switch {
	case err == nil:
		checkDescriptors(t, tr)
		_ = tr.Plan.Text() + tr.Plan.DOT()
	case !errors.As(err, &inv) && !errors.As(err, &un):
		t.Fatalf("error of another type: %v", err)
	}
}

func FuzzTranslate(f *testing.F) {
	// Small pipelines: the fuzzer spends its time on bytes, not on length.
	for _, build := range []func(builder){
		buildWindows, buildFlattenNested, buildSideInputCycle, buildSDF, buildState, buildCombineLeaf,
		buildWaiting, buildTimeSorted, buildStatefulSDF, buildExpandedSDF, buildMerging, buildTestStreams,
	} {
		b := newBuilder()
		build(b)
		data, err := proto.Marshal(b.Pipeline)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	f.Add([]byte(`{"rootTransformIds": ["a"]}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		p, err := translate.Load(data)
		if err != nil {
			var inv *translate.InvalidError
			if !errors.As(err, &inv) {
				t.Fatalf("error of another type: %v", err)
			}
			return
		}
		checkAnswer(t, p)
	})
}

// TestMutations breaks real pipelines in ways bytes seldom do: references are
// exchanged, components removed, payloads cut, URNs swapped.
func TestMutations(t *testing.T) {
	files, err := filepath.Glob(filepath.Join(pipelines, "*.pb"))
	if err != nil {
		t.Fatal(err)
	}
	const perPipeline = 40
	for i, f := range files {
		data, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		if len(data) > 20_000 {
			continue // large ones have nothing small ones have not
		}
		for n := range perPipeline {
			p, err := translate.Load(data)
			if err != nil {
				t.Fatal(err)
			}
			r := rand.New(rand.NewPCG(uint64(i), uint64(n)))
			for range 1 + r.IntN(3) {
				mutate(r, p)
			}
			t.Run(fmt.Sprintf("%s/%d", filepath.Base(f), n), func(t *testing.T) { checkAnswer(t, p) })
		}
	}
}

func mutate(r *rand.Rand, p *pipepb.Pipeline) {
	c := p.GetComponents()
	transforms := slices.Sorted(maps.Keys(c.GetTransforms()))
	pcs := slices.Sorted(maps.Keys(c.GetPcollections()))
	coders := slices.Sorted(maps.Keys(c.GetCoders()))
	windowings := slices.Sorted(maps.Keys(c.GetWindowingStrategies()))
	if len(transforms) == 0 || len(pcs) == 0 || len(coders) == 0 || len(windowings) == 0 {
		return
	}
	one := func(ids []string) string { return ids[r.IntN(len(ids))] }
	pt := c.GetTransforms()[one(transforms)]
	if pt == nil {
		return
	}
	switch r.IntN(12) {
	case 0:
		for tag := range pt.GetInputs() {
			pt.Inputs[tag] = one(pcs)
		}
	case 1:
		for tag := range pt.GetOutputs() {
			pt.Outputs[tag] = one(pcs)
		}
	case 2:
		c.Pcollections[one(pcs)].CoderId = one(coders)
	case 3:
		c.Coders[one(coders)].ComponentCoderIds = []string{one(coders), one(coders)}
	case 4:
		if b := pt.GetSpec().GetPayload(); len(b) > 0 {
			pt.Spec.Payload = b[:r.IntN(len(b))]
		}
	case 5:
		if b := pt.GetSpec().GetPayload(); len(b) > 0 {
			b[r.IntN(len(b))] ^= byte(1 << r.IntN(8))
		}
	case 6:
		if other := c.GetTransforms()[one(transforms)]; pt.GetSpec() != nil && other != nil {
			pt.Spec.Urn = other.GetSpec().GetUrn()
		}
	case 7:
		pt.Subtransforms = append(pt.Subtransforms, one(transforms))
	case 8:
		delete(c.Coders, one(coders))
	case 9:
		c.Pcollections[one(pcs)].WindowingStrategyId = one(windowings)
	case 10:
		ws := c.GetWindowingStrategies()[one(windowings)]
		ws.WindowCoderId = one(coders)
	case 11:
		c.Coders[one(coders)].Spec = proto.CloneOf(c.Coders[one(coders)].GetSpec())
		p.RootTransformIds = append(p.RootTransformIds, one(transforms))
	}
}

// TestLarge holds translation to its promise: no pass is quadratic.
func TestLarge(t *testing.T) {
	size := 5000
	if invariants.Enabled {
		size = 1000 // with the race detector each step takes many times as long
	}
	shapes := map[string]func(b builder){
		"chain": func(b builder) {
			for i := range size {
				b.parDo(fmt.Sprintf("t%d", i+1), "own", nil, fmt.Sprintf("t%d", i))
			}
		},
		"wide": func(b builder) {
			for i := range size {
				b.parDo(fmt.Sprintf("t%d", i+1), "own", nil, "t0")
			}
		},
		"groups": func(b builder) {
			for i := 0; i < size; i += 2 {
				b.parDo(fmt.Sprintf("t%d", i+1), "kv", nil, fmt.Sprintf("t%d", i))
				b.add(fmt.Sprintf("t%d", i+2), "beam:transform:group_by_key:v1", nil, "grouped", fmt.Sprintf("t%d", i+1))
			}
			b.parDo("last", "bytes", nil, fmt.Sprintf("t%d", size))
		},
		"one flatten": func(b builder) {
			var all []string
			for i := range size {
				b.impulse(fmt.Sprintf("t%d", i+1))
				all = append(all, fmt.Sprintf("t%d", i+1))
			}
			b.add("flat", "beam:transform:flatten:v1", nil, "bytes", all...)
			b.parDo("last", "bytes", nil, "flat")
		},
		"side inputs": func(b builder) {
			for i := range size {
				b.parDo(fmt.Sprintf("t%d", i+1), "own", sidePayload("i1"), "t0", fmt.Sprintf("t%d", i))
			}
		},
		"views": func(b builder) {
			b.testStream("stream", "varint")
			b.parDo("side", "own", nil, "stream")
			for i := range size {
				b.parDo(fmt.Sprintf("t%d", i+1), "own", sidePayload("i1"), fmt.Sprintf("t%d", i), "side")
			}
		},
		"views in a row": func(b builder) {
			b.testStream("stream", "varint")
			b.parDo("s0", "own", nil, "stream")
			for i := range size {
				b.parDo(fmt.Sprintf("s%d", i+1), "own", sidePayload("i1"), "stream", fmt.Sprintf("s%d", i))
			}
		},
		"side inputs of one": func(b builder) {
			b.parDo("side", "own", nil, "t0")
			for i := range size {
				b.parDo(fmt.Sprintf("t%d", i+1), "own", sidePayload("i1"), fmt.Sprintf("t%d", i), "side")
			}
		},
	}
	for name, build := range shapes {
		t.Run(name, func(t *testing.T) {
			b := newBuilder()
			b.impulse("t0")
			build(b)
			start := time.Now()
			tr, err := translate.Translate(b.Pipeline, translate.Options{})
			took := time.Since(start)
			if err != nil {
				t.Fatal(err)
			}
			t.Logf("%d stages, %v", len(tr.Plan.Stages), took)
			// Ten times the promise: machines are shared, and a quadratic pass
			// takes far longer.
			if took > 10*time.Second {
				t.Errorf("took %v", took)
			}
		})
	}
}

func BenchmarkTranslate(b *testing.B) {
	p := newBuilder()
	p.impulse("t0")
	for i := range 5000 {
		p.parDo(fmt.Sprintf("t%d", i+1), "own", nil, fmt.Sprintf("t%d", i))
	}
	for b.Loop() {
		if _, err := translate.Translate(p.Pipeline, translate.Options{}); err != nil {
			b.Fatal(err)
		}
	}
}
