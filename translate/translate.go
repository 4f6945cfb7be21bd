// Package translate turns a pipeline proto into a plan: the only place that
// knows the URNs of the Beam model.
//
// The passes, one file each, in this order:
//
//	unfold    stages that a client fused become their transforms
//	check     the components exist and hang together
//	resolve   composites to what is executed: leaves, and composites the
//	          runner executes natively (a reshuffle, a combine to be lifted)
//	sdf       a splittable DoFn becomes pair, split and process
//	lift      a combine becomes precombine, group, merge and extract
//	align     a GroupByKey gets its input in the coders of its output
//	link      PCollections get producer and consumers; topological order
//	bound     what is made of something unbounded is unbounded
//	timesort  unbounded input that is to come in order of time is sorted
//	prune     what the runner executes and nobody reads goes away
//	refuse    everything that is not executed is named, all causes at once
//	fuse      SDK transforms that can run in one bundle become stages
//	edges     PCollections between stages get writers, a wire coder and views
//	functions what the runner asks of SDKs itself, outside the graph
//	build     the plan
//	describe  a bundle descriptor for each stage of user code
//
// Every pass is linear in the pipeline, or stops at a stated limit. A
// translation has no shared state: it may run in any goroutine, and changes
// nothing in the pipeline it is given. Equal pipelines give equal plans. All
// bytes come from outside; none of them makes it panic.
//
// One wire coder is chosen for each PCollection between stages, and all that
// write to it use that coder, so the runner never encodes an element again.
// Where the coders of a Flatten's inputs differ, the SDK that produces an
// input writes it with the coder of the Flatten's output: an SDK encodes
// values, not bytes, so this is right wherever the Flatten is. That is why
// there is no Flatten transform between stages; within a stage, where all
// inputs are, the SDK executes it, as all SDKs can.
package translate

import (
	"fmt"

	fnpb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/fnexecution_v1"
	pipepb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/pipeline_v1"

	"github.com/gorunner/gorunner/plan"
)

// Translation is a pipeline ready to be executed.
type Translation struct {
	Plan *plan.Plan
	// Descriptors of the Executable stages and functions. Their ids are unique within the
	// pipeline only; whoever registers them makes them unique in the process,
	// in a copy, and fills in there the addresses of the services: that of the
	// State API, and in the payload (a RemoteGrpcPort) of each source and sink
	// that of the data plane.
	Descriptors map[plan.StageID]*fnpb.ProcessBundleDescriptor
	// Environments the plan uses, with ANYOF still unresolved.
	Environments map[plan.EnvironmentID]*pipepb.Environment
}

// Options are the settings of a translation; zero values stand for the
// defaults said with each.
type Options struct {
	// KeyGroups is the number of partitions of keyed inputs; default 64.
	KeyGroups int
	// Streaming lets triggers fire early panes of bounded input, too, which is
	// grouped once otherwise, when it is complete.
	Streaming bool
	// DisableFusion makes a stage of every transform.
	DisableFusion bool
	// IsolateSources fuses nothing with what reads an Impulse or restrictions, so
	// that its output are elements of their own.
	IsolateSources bool
	// DisableLifting groups before it combines.
	DisableLifting bool
	// MaxNesting is how deep composites and coders may be nested; default 1000.
	MaxNesting int
	// MaxOutputs is how many outputs the stages may have together; default
	// 10,000 and 10 for each transform. Flattens of flattens that repeat their
	// inputs would otherwise have more than any machine has memory for.
	MaxOutputs int
	// MaxFusionSteps is how much work fusion may do to look for cycles; default
	// 4,000,000. Beyond it, transforms with side inputs are no longer fused.
	MaxFusionSteps int
}

func (o Options) withDefaults(transforms int) Options {
	if o.KeyGroups <= 0 {
		o.KeyGroups = 64
	}
	if o.MaxNesting <= 0 {
		o.MaxNesting = 1000
	}
	if o.MaxOutputs <= 0 {
		o.MaxOutputs = 10_000 + 10*transforms
	}
	if o.MaxFusionSteps <= 0 {
		o.MaxFusionSteps = 4_000_000
	}
	return o
}

// translator is the state of one translation.
type translator struct {
	opts       Options
	pipeline   *pipepb.Pipeline
	components *pipepb.Components
	coders     *coderTable
	windowings map[string]*windowing
	// collections by id, those that passes add among them.
	collections map[string]*collection
	nodes       []*node
	causes      []string
	stages      []*stage
	edges       []*edge
	// functions are stages outside the graph; merges are those that merge
	// windows, by windowing strategy.
	functions []*stage
	merges    map[string]*stage
	mappings  map[mapping]*stage
	// splits are those that tell values of states apart.
	splits map[valuesOf]*stage
	// scripts are those of the TestStreams.
	scripts []*script
}

// Translate makes an executable plan of a pipeline. The error is an
// *[InvalidError] when the proto is broken and an *[UnsupportedError] when
// something in it is not executed.
func Translate(p *pipepb.Pipeline, o Options) (*Translation, error) {
	t := &translator{
		opts:        o.withDefaults(len(p.GetComponents().GetTransforms())),
		pipeline:    p,
		components:  p.GetComponents(),
		windowings:  map[string]*windowing{},
		collections: map[string]*collection{},
		merges:      map[string]*stage{},
		mappings:    map[mapping]*stage{},
		splits:      map[valuesOf]*stage{},
	}
	for _, pass := range []func() error{
		t.unfold, t.check, t.resolve, t.expandSDFs, t.expandCombines, t.alignGroups, t.link,
		t.bound, t.sortByTime, t.prune, t.refuse, t.fuse, t.makeEdges, t.makeFunctions,
	} {
		if err := pass(); err != nil {
			return nil, err
		}
	}
	tr, err := t.build()
	if err != nil {
		return nil, err
	}
	if err := tr.Plan.Validate(); err != nil {
		return nil, fmt.Errorf("translate: plan made of the pipeline: %w", err)
	}
	return tr, nil
}

func (t *translator) unsupported(format string, args ...any) {
	t.causes = append(t.causes, fmt.Sprintf(format, args...))
}
