package translate_test

import (
	"strings"
	"testing"

	pipepb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/pipeline_v1"
	"github.com/cockroachdb/datadriven"
	"google.golang.org/protobuf/encoding/prototext"

	"github.com/gorunner/gorunner/plan"
	"github.com/gorunner/gorunner/translate"
)

// TestWindowings translates windowing strategies, given as proto text without
// WindowFn, each as that of a combine, and prints what is grouped by and
// whether values are combined before.
func TestWindowings(t *testing.T) {
	datadriven.RunTest(t, "testdata/windowings.txt", func(t *testing.T, d *datadriven.TestData) string {
		t.Helper()
		ws := new(pipepb.WindowingStrategy)
		if err := prototext.Unmarshal([]byte(d.Input), ws); err != nil {
			d.Fatalf(t, "%v", err)
		}
		b := newBuilder()
		b.windows("w", spec("beam:window_fn:global_windows:v1", nil), "global_window", func(own *pipepb.WindowingStrategy) {
			ws.WindowFn, ws.WindowCoderId = own.GetWindowFn(), own.GetWindowCoderId()
		})
		b.Components.WindowingStrategies["w"] = ws
		b.impulse("impulse")
		b.parDo("keyed", "kv", nil, "impulse")
		b.add("sum", "beam:transform:combine_per_key:v1", &pipepb.CombinePayload{AccumulatorCoderId: "own"}, "kv", "keyed")
		for _, id := range []string{"keyed", "sum"} {
			b.Components.Pcollections[id].WindowingStrategyId = "w"
		}
		tr, err := translate.Translate(b.Pipeline, translate.Options{})
		if err != nil {
			return err.Error() + "\n"
		}
		for _, s := range tr.Plan.Stages {
			if g, ok := s.Kind.(*plan.GroupByKey); ok {
				lifted := ""
				if !strings.Contains(tr.Plan.Text(), "combine_grouped_values") {
					lifted = "\nlifted"
				}
				return g.Windowing.String() + lifted + "\n"
			}
		}
		return tr.Plan.Text()
	})
}
