// Package plan is the validated, immutable operator graph of one job: what
// translation makes and everything below it executes. It knows no proto.
//
// A plan is a list of stages joined by edges. A stage is the unit of
// scheduling: its bundles are executed by one harness. An edge is a
// PCollection that is materialised between stages, with one wire coder: any
// number of stages may write to it (that is a Flatten) and any number may
// read it. Reshuffle and Flatten are therefore not stages: blocks pass from
// producer to consumer unparsed.
//
// A plan is never changed after Validate has accepted it and may be read
// from any goroutine.
package plan

import "github.com/gorunner/gorunner/coder"

// StageID is the index of a stage in Plan.Stages.
type StageID int

// EdgeID is the index of an edge in Plan.Edges.
type EdgeID int

// EnvironmentID is the pipeline's name of an environment.
type EnvironmentID string

// TransformID is the pipeline's id of a transform, unique in the pipeline. In
// bundle descriptors the same ids are used.
type TransformID string

// Plan is the operator graph of a job.
type Plan struct {
	// Stages in topological order: a stage reads only edges that earlier
	// stages write.
	Stages []*Stage
	Edges  []*Edge
	// Environments in order of first use by a stage.
	Environments []EnvironmentID
	// KeyGroups is the number of partitions of every keyed input, at least 1.
	KeyGroups int
	// Functions are stages outside the graph, which the runner's own operators
	// and its scheduler call: their ids go on from those of Stages. A function's
	// edges only say how its input and output are laid out; nothing queues there.
	Functions []*Stage
	// Tests are the scripts of the pipeline's test streams, if it has any. Such
	// a job has a processing time of its own: it begins with the job and moves
	// only by the scripts.
	Tests []Test
}

// Stage returns the stage or function with the id.
func (p *Plan) Stage(id StageID) *Stage {
	if int(id) < len(p.Stages) {
		return p.Stages[id]
	}
	return p.Functions[int(id)-len(p.Stages)]
}

// Edge is a PCollection between stages.
type Edge struct {
	ID EdgeID
	// Name is the PCollection's id in the pipeline.
	Name string
	// Value is the wire coder of the elements' values; the runner can measure
	// it. It is a KV where some consumer is keyed.
	Value *coder.Coder
	// Windowing of the PCollection; its window coder is part of the wire
	// format.
	Windowing *Windowing
	// Bounded says whether the PCollection is bounded.
	Bounded bool
	// Key is the coder of the key that keyed consumers go by, which stands at
	// the start of the value. It is nil where the first component of the KV is
	// meant; restrictions of keyed elements have the key further inside.
	Key *coder.Coder
}

// Stage is the unit of scheduling and fusion.
type Stage struct {
	ID StageID
	// Name is unique in the plan and made of the user's transform names.
	Name string
	// Kind says what executes the stage and with which settings.
	Kind Kind
	// Input is the main input; nil for a Root kind.
	Input *Input
	// SideInputs are the views the stage's transforms read.
	SideInputs []SideInput
	// Outputs in the order harnesses count them. Two outputs may lead to the
	// same edge.
	Outputs []Output
}

// Input is the main input of a stage.
type Input struct {
	Edge EdgeID
	// Keyed says that the input is partitioned by the encoded key, with one
	// bundle per key group at a time.
	Keyed bool
	// Port is the id of the data source transform in the bundle descriptor;
	// empty for stages that the runner executes itself.
	Port TransformID
}

// Output is where a stage's results go.
type Output struct {
	Edge EdgeID
	// Port is the id of the data sink transform in the bundle descriptor;
	// empty for stages that the runner executes itself.
	Port TransformID
}

// SideInput is one view that one transform of a stage reads.
type SideInput struct {
	Edge EdgeID
	// View is the stage that materialises the edge pane by pane. It is 0, which
	// is no view's id, where the edge is complete before it is read.
	View StageID
	// Map is the function that says which window of the view belongs to one of
	// the main input. It is 0 where the edge is complete, where the runner knows
	// that itself, and where the SDK cannot tell it either.
	//
	//	KV<nonce, window of the main input> -> KV<nonce, window of the view>
	Map       StageID
	Transform TransformID
	// Tag is the transform's local name of the side input.
	Tag    string
	Access Access
}

// Access is how a side input is read.
type Access int

// The access patterns of the Beam model.
const (
	// AccessIterable reads all values of a window.
	AccessIterable Access = iota
	// AccessMultimap reads the values of a key in a window; the edge's value
	// coder is a KV.
	AccessMultimap
)

// Kind is what a stage does. The set is closed:
// [*Impulse], [*TestSource], [*GroupByKey], [*View], [*TimeSort],
// [*Executable].
//
//sumtype:decl
type Kind interface {
	kind()
	// String is the kind's name in dumps.
	String() string
}

// Impulse emits one empty byte string in the global window.
type Impulse struct{}

// TestSource emits what the script of a test stream tells it to.
type TestSource struct{}

// GroupByKey collects the values of each key and window.
type GroupByKey struct {
	// Windowing of the input; the output has the same windows.
	Windowing *Windowing
	// Streaming says that panes are fired, by the trigger, while input comes;
	// otherwise every window is fired once, when the input is complete.
	Streaming bool
	// Merge is the function that merges windows, if only the SDK can; else 0.
	// Such a GroupByKey is streaming, whatever its input. The function takes
	//
	//	KV<nonce bytes, iterable<window>>
	//
	// and answers it, with the same nonce and the windows' own coder, by the
	// windows that stay alone and the ones that were made of others:
	//
	//	KV<nonce bytes, KV<iterable<window>, iterable<KV<window, iterable<window>>>>>
	Merge StageID
	// Key and Value are the components of the input's KV.
	Key, Value *coder.Coder
	// PagedValues says that the consumers understand an iterable whose values
	// are read through the State API.
	PagedValues bool
}

// View materialises a side input pane by pane: what a firing of a window emits
// replaces what the firing before it had emitted. It writes no edge.
type View struct {
	Windowing *Windowing
	// Merge is as in GroupByKey.
	Merge StageID
}

// TimeSort passes the elements of each key on in order of time, as far as the
// watermark has come.
type TimeSort struct {
	// Windowing of the input: what is later than it allows is dropped.
	Windowing *Windowing
}

// Executable is user code: fused transforms that an SDK harness executes.
type Executable struct {
	Environment EnvironmentID
	// Transforms of the stage, in topological order.
	Transforms []Transform
	// Splittable says that the elements are restrictions of a splittable DoFn:
	// few and expensive, to be spread one by one.
	Splittable bool
	// Unbounded says that a restriction may never end: the runner checkpoints
	// its bundles, for what they yield to be seen.
	Unbounded bool
	// Truncate is the function that truncates restrictions when the job is
	// drained, 0 if there is none. It reads and writes the stage's input edge.
	Truncate StageID
	// TimeSorted says that the elements of each key come in order of time; the
	// input is keyed then.
	TimeSorted bool
	// StableInput says that a bundle must not begin before its input is what it will
	// be in every attempt, even after the end of the runner.
	StableInput bool
	// States are the user states; a stage with any has a keyed input.
	States []StateSpec
	// Timers are the timer families; a stage with any has a keyed input.
	Timers []TimerSpec
}

// Transform is a user transform of a stage.
type Transform struct {
	ID TransformID
	// Name is the full name the user gave it.
	Name string
	// URN of the transform.
	URN string
}

// StateSpec is one user state of a transform.
type StateSpec struct {
	Transform TransformID
	ID        string
	Protocol  StateProtocol
	// Value is the wire coder of the values of an OrderedListState, whose
	// entries are a varint sort key and a value each, and of a MultimapState if
	// it can be measured. It is nil for a BagState, whose values the runner need
	// not tell apart.
	Value *coder.Coder
	// Split is the function that tells the values of a MultimapState apart where
	// Value is nil; its entries can be read all at once only with one of the two.
	// It reads bare values, without headers, and writes them length-prefixed, in
	// their order. 0 is none.
	Split StageID
}

// StateProtocol is the Fn API access protocol of a user state.
type StateProtocol int

// The protocols of the Fn API.
const (
	// BagState serves bag, value and combining state.
	BagState StateProtocol = iota
	// MultimapState serves map, multimap and set state.
	MultimapState
	// OrderedListState serves ordered lists.
	OrderedListState
)

// TimerSpec is one timer family of a transform.
type TimerSpec struct {
	Transform TransformID
	Family    string
	Domain    TimeDomain
	// Expiration says that the runner sets the family's timer, once for each
	// key and window, for when the window expires.
	Expiration bool
	// Key is the wire coder of the timers' keys: that of the stage's input.
	Key *coder.Coder
}

// TimeDomain is the clock a timer goes by.
type TimeDomain int

// The time domains of timers.
const (
	EventTimeDomain TimeDomain = iota
	ProcessingTimeDomain
	// SynchronizedDomain is processing time as far as all stages upstream have
	// come in it. Only the runner's own operators have such timers.
	SynchronizedDomain
)

func (*Impulse) kind()    {}
func (*TestSource) kind() {}
func (*View) kind()       {}
func (*TimeSort) kind()   {}
func (*GroupByKey) kind() {}
func (*Executable) kind() {}
