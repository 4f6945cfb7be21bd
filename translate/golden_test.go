package translate_test

import (
	"errors"
	"flag"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	fnpb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/fnexecution_v1"
	"github.com/cockroachdb/datadriven"
	"google.golang.org/protobuf/proto"

	"github.com/gorunner/gorunner/plan"
	"github.com/gorunner/gorunner/translate"
)

const (
	pipelines = "testdata/pipelines"
	plans     = "testdata/plans"
)

// TestGolden translates the real pipelines of the SDKs and compares plans or
// causes of refusal with testdata/plans. With -rewrite it writes them, also
// for pipelines that have none yet.
func TestGolden(t *testing.T) {
	files, err := filepath.Glob(filepath.Join(pipelines, "*.pb"))
	if err != nil || len(files) < 25 {
		t.Fatalf("%d pipelines in %s: %v", len(files), pipelines, err)
	}
	for _, f := range files {
		name := strings.TrimSuffix(filepath.Base(f), ".pb")
		golden := filepath.Join(plans, name+".txt")
		if _, err := os.Stat(golden); err != nil {
			if flag.Lookup("rewrite").Value.String() != "true" {
				t.Errorf("%s has no golden plan: run the test with -rewrite", name)
				continue
			}
			if err := os.WriteFile(golden, []byte("translate\n----\n"), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		t.Run(name, func(t *testing.T) {
			datadriven.RunTest(t, golden, func(t *testing.T, d *datadriven.TestData) string {
				t.Helper()
				return run(t, f, d)
			})
		})
	}
}

func run(t *testing.T, file string, d *datadriven.TestData) string {
	t.Helper()
	o := translate.Options{
		DisableFusion:  d.HasArg("no-fusion"),
		DisableLifting: d.HasArg("no-lifting"),
		IsolateSources: d.HasArg("isolate-sources"),
	}
	tr, err := translateFile(t, file, o)
	if err != nil {
		return err.Error() + "\n"
	}
	checkDescriptors(t, tr)
	return dump(t, d, tr)
}

func dump(t *testing.T, d *datadriven.TestData, tr *translate.Translation) string {
	t.Helper()
	switch d.Cmd {
	case "translate":
		return tr.Plan.Text()
	case "descriptor":
		var id int
		d.ScanArgs(t, "stage", &id)
		return descriptorText(tr.Descriptors[plan.StageID(id)])
	case "dot":
		return tr.Plan.DOT()
	}
	t.Fatalf("unknown command %q", d.Cmd)
	return ""
}

func translateFile(t *testing.T, file string, o translate.Options) (*translate.Translation, error) {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	p, err := translate.Load(data)
	if err != nil {
		t.Fatal(err)
	}
	before := proto.CloneOf(p)
	tr, err := translate.Translate(p, o)
	if !proto.Equal(before, p) {
		t.Fatal("the pipeline was changed")
	}
	var unsupported *translate.UnsupportedError
	if err != nil && !errors.As(err, &unsupported) {
		t.Fatalf("a real pipeline: %v", err)
	}
	return tr, err
}

// descriptorText prints what a harness is told, without payloads.
func descriptorText(d *fnpb.ProcessBundleDescriptor) string {
	var b strings.Builder
	for _, id := range slices.Sorted(maps.Keys(d.GetTransforms())) {
		pt := d.GetTransforms()[id]
		fmt.Fprintf(&b, "transform %s %q %s %v -> %v\n", id, pt.GetUniqueName(), pt.GetSpec().GetUrn(),
			pt.GetInputs(), pt.GetOutputs())
	}
	for _, id := range slices.Sorted(maps.Keys(d.GetPcollections())) {
		pc := d.GetPcollections()[id]
		fmt.Fprintf(&b, "pcollection %s coder %s windowing %s\n", id, pc.GetCoderId(), pc.GetWindowingStrategyId())
	}
	for _, id := range slices.Sorted(maps.Keys(d.GetWindowingStrategies())) {
		ws := d.GetWindowingStrategies()[id]
		fmt.Fprintf(&b, "windowing %s %s coder %s\n", id, ws.GetWindowFn().GetUrn(), ws.GetWindowCoderId())
	}
	for _, id := range slices.Sorted(maps.Keys(d.GetCoders())) {
		c := d.GetCoders()[id]
		fmt.Fprintf(&b, "coder %s %s %v\n", id, c.GetSpec().GetUrn(), c.GetComponentCoderIds())
	}
	return b.String()
}
