package translate

import (
	"fmt"

	pipepb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/pipeline_v1"

	"github.com/gorunner/gorunner/plan"
)

// node is a transform that is executed: a leaf of the pipeline, or what a
// leaf was expanded into.
type node struct {
	id, urn string
	// name is the user's; part is appended to it, in descriptors only, where
	// one transform of the user became several.
	name, part string
	class      leafClass
	// env is the environment of a leafSDK node.
	env string
	// spec is what the SDK gets.
	spec *pipepb.FunctionSpec
	// inputs and outputs are the local names and ids of PCollections.
	inputs, outputs map[string]string
	// main are the ids of the main inputs: one, for an alias any number, for
	// an impulse none.
	main []string
	// mainTag is the local name of a leafSDK node's main input.
	mainTag string
	sides   []sideInput
	// pardo is the payload of a ParDo or of a part of a splittable one.
	pardo   *pipepb.ParDoPayload
	combine *pipepb.CombinePayload
	// lifted is set on a leafCombine that is to be combined before grouping.
	lifted bool
	// barrier is set on an alias that no fusion may look through.
	barrier bool
	// keyed is set where the node needs its input partitioned by key.
	keyed bool
	// splittable is set where the input elements are sized restrictions.
	splittable bool

	// from, views and to are main, sides and outputs, set when linked.
	from  []*collection
	views []*collection
	to    []*collection
	// order is the position in topological order.
	order int
	// stage the node was fused into.
	stage *stage
	// repack is set where pardo is no longer what spec holds.
	repack bool
	// sorted is set where the input comes in order of time, by a stage before.
	sorted bool
	// script is set on an output of a TestStream.
	script *script
	// clones are the outputs of the node's clones in other stages.
	clones []*collection
}

// keyDepth is how often the first component is to be taken of the coder of a
// keyed node's input to come to that of the key: restrictions have the key
// within the element within the pair within the size.
func (n *node) keyDepth() int {
	if n.splittable {
		return 3
	}
	return 1
}

func (n *node) String() string { return fmt.Sprintf("transform %q (%s)", n.name, n.id) }

type sideInput struct {
	tag        string
	collection string
	access     plan.Access
	// mapping is the function that maps windows of the main input, if there is
	// one.
	mapping *stage
}

// collection is a PCollection.
type collection struct {
	id string
	// name is the unique name.
	name string
	// coder and windowing are ids.
	coder, windowing string
	bounded          pipepb.IsBounded_Enum

	producer *node
	// consumers read it as main input, viewers as side input.
	consumers []*node
	viewers   []*node
	// edge is set when the collection is materialised.
	edge *edge
	// readers are the stages whose main input it is.
	readers []*stage
	// viewed says that some stage reads it as side input.
	viewed bool
}

func unbounded(c *collection) bool { return c.bounded == pipepb.IsBounded_UNBOUNDED }

// stage is a set of fused nodes.
type stage struct {
	// nodes in topological order; none for an identity stage.
	nodes []*node
	class leafClass
	env   string
	// input is the materialised main input.
	input             *collection
	keyed, splittable bool
	// waits is set where some elements have to wait for side inputs.
	waits bool
	// next are the stages that wait for output of this one.
	next []*stage
	// order is the position of the first node.
	order int
	seen  int
	// outputs are filled when edges are made.
	outputs []output
	id      plan.StageID
	source  plan.TransformID
	// merge merges the windows of what the stage groups, truncate the
	// restrictions it processes, if there is such a function.
	merge, truncate *stage
}

// output is one way out of a stage.
type output struct {
	from *collection
	to   *edge
	port plan.TransformID
}

// edge is a materialised PCollection.
type edge struct {
	id         plan.EdgeID
	collection *collection
	// coder is the id of the wire coder.
	coder string
	// bare says that what is read has no headers, and the SDK's own coder.
	bare bool
	// writers counts the outputs that lead here.
	writers []*stage
	paged   bool
	// view is the stage that materialises an unbounded side input.
	view *stage
	// keyDepth is that of the nodes that read it by key.
	keyDepth int
}
