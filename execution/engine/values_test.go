package engine

import (
	"context"
	"errors"
	"slices"
	"testing"

	"github.com/gorunner/gorunner/coder"
	"github.com/gorunner/gorunner/execution/harness"
	"github.com/gorunner/gorunner/plan"
	"github.com/gorunner/gorunner/state"
)

// splitPlan has a function that tells values apart.
func splitPlan() *plan.Plan {
	p := mergePlan()
	p.Edges[1].Value = coder.Must(coder.LengthPrefix)
	p.Functions[0].Name = "split"
	return p
}

// TestSplitValues holds that a function is given the bare bytes of chunks, in
// blocks of a limited size, and that its answer is read.
func TestSplitValues(t *testing.T) {
	h := &fakeHost{plan: &simPlan{plan: splitPlan()}}
	d := newDriver(h.plan.plan, Options{Host: h})
	d.addWorker("a", h.mustStart(t))
	var got []string
	answer := slices.Concat(windowed(0, nil, text("x")), windowed(0, nil, text("")), windowed(0, nil, text("yz")))
	h.before = func(_ *fakeWorker, b *harness.Bundle) error {
		for _, block := range b.Input {
			got = append(got, string(block.Data))
		}
		if err := b.Output.Write(0, answer); err != nil {
			return err
		}
		return errHandled
	}
	large := make([]byte, splitBlockBytes)
	values, err := d.splitValues(t.Context(), 1, [][]byte{[]byte("ab"), large, []byte("c"), []byte("d")})
	if err != nil {
		t.Fatal(err)
	}
	if !slices.EqualFunc(values, []string{"x", "", "yz"}, func(v []byte, s string) bool { return string(v) == s }) {
		t.Errorf("got values %q", values)
	}
	if !slices.Equal(got, []string{"ab" + string(large), "cd"}) {
		t.Errorf("the function got %d blocks of %.10q", len(got), got)
	}
	h.before = func(*fakeWorker, *harness.Bundle) error { return errSim }
	if _, err := d.splitValues(t.Context(), 1, [][]byte{[]byte("ab")}); !errors.Is(err, errSim) {
		t.Errorf("got error %v, want %v", err, errSim)
	}
}

// TestSplitEntries reads a multimap by the values that an SDK has told apart;
// one that has no byte is stored as one.
func TestSplitEntries(t *testing.T) {
	b := stateOn(state.NewMemory())
	k, ok := b.stage.Kind.(*plan.Executable)
	if !ok {
		t.Fatal("not an executable stage")
	}
	k.States[slices.IndexFunc(k.States, func(s plan.StateSpec) bool { return s.Protocol == plan.MultimapState })].Split = 7
	answer := []string{"b", "a", "", "cd"}
	asked := ""
	b.split = func(_ context.Context, by plan.StageID, chunks [][]byte) ([][]byte, error) {
		if by != 7 {
			t.Errorf("function %d was asked", by)
		}
		asked = string(slices.Concat(chunks...))
		var values [][]byte
		for _, v := range answer {
			values = append(values, []byte(v))
		}
		return values, nil
	}
	expect(t, b, mapKey(harness.PartMapEntries, ""), "")
	if asked != "" {
		t.Error("asked for the values of an empty map")
	}
	for _, kv := range [][2]string{{"k2", "a"}, {"k1", "b"}, {"k2", ""}, {"k2", "cd"}} {
		add(t, b, mapKey(harness.PartMapValues, kv[0]), []byte(kv[1]))
	}
	expect(t, b, mapKey(harness.PartMapEntries, ""), "k1\x00\x00\x00\x01b"+"k2\x00\x00\x00\x03acd")
	if asked != "ba\x00cd" {
		t.Errorf("asked about %q", asked)
	}
	for _, wrong := range [][]string{{"b", "a", "", "c"}, {"b", "a"}, {"bac", "d"}, {"b", "a", "", "cd", "e"}} {
		answer = wrong
		_, _, err := b.Get(t.Context(), mapKey(harness.PartMapEntries, ""), nil)
		if !errors.Is(err, coder.ErrShort) && !errors.Is(err, coder.ErrMalformed) {
			t.Errorf("answer %q: got error %v", wrong, err)
		}
	}
	b.split = func(context.Context, plan.StageID, [][]byte) ([][]byte, error) { return nil, errSim }
	if _, _, err := b.Get(t.Context(), mapKey(harness.PartMapEntries, ""), nil); !errors.Is(err, errSim) {
		t.Errorf("got error %v, want %v", err, errSim)
	}
}
