package translate

import (
	"fmt"
	"strings"

	pipepb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/pipeline_v1"

	"github.com/gorunner/gorunner/coder"
	"github.com/gorunner/gorunner/element"
)

// coderTable holds the coders of a pipeline and those translation adds to
// them. The pipeline itself is never changed.
type coderTable struct {
	pipeline map[string]*pipepb.Coder
	added    map[string]*pipepb.Coder
	// byForm finds an added coder by what it is made of.
	byForm map[string]string
	// canon numbers the distinct structures; canonOf says which one an id has.
	canon   map[string]int
	canonOf map[string]int
	// parts is the number of coders an id is made of, each use counted.
	parts   map[string]int
	wires   map[string]wire
	nesting int
}

// maxCoderParts bounds the size of a coder written out as a tree: components
// may be shared, so a few coders can describe a tree without end.
const maxCoderParts = 10_000

// wire is a coder the runner can measure.
type wire struct {
	// id of the coder that stands in bundle descriptors.
	id    string
	coder *coder.Coder
}

func newCoderTable(pipeline map[string]*pipepb.Coder, nesting int) *coderTable {
	return &coderTable{
		pipeline: pipeline,
		added:    map[string]*pipepb.Coder{},
		byForm:   map[string]string{},
		canon:    map[string]int{},
		canonOf:  map[string]int{},
		parts:    map[string]int{},
		wires:    map[string]wire{},
		nesting:  nesting,
	}
}

// get returns the coder of an id that check has accepted, or that was added.
func (t *coderTable) get(id string) *pipepb.Coder {
	if c, ok := t.added[id]; ok {
		return c
	}
	return t.pipeline[id]
}

// check says whether the coder and all its components exist, without a loop,
// and numbers their structures.
func (t *coderTable) check(id string) error {
	_, err := t.number(id, 0)
	return err
}

const numbering = -1 // in canonOf while the components are looked at

func (t *coderTable) number(id string, depth int) (int, error) {
	if n, ok := t.canonOf[id]; ok {
		if n == numbering {
			return 0, invalid(inCoder(id), "is a component of itself")
		}
		return n, nil
	}
	c := t.get(id)
	if c == nil {
		return 0, invalid(inCoder(id), "does not exist")
	}
	if depth > t.nesting {
		return 0, invalid(inCoder(id), "nested more than %d deep", t.nesting)
	}
	if want := components(c.GetSpec().GetUrn()); want >= 0 && want != len(c.GetComponentCoderIds()) {
		return 0, invalid(inCoder(id), "%s has %d components, not %d",
			c.GetSpec().GetUrn(), len(c.GetComponentCoderIds()), want)
	}
	t.canonOf[id] = numbering
	parts := 1
	form := fmt.Sprintf("%q %q", c.GetSpec().GetUrn(), c.GetSpec().GetPayload())
	for _, comp := range c.GetComponentCoderIds() {
		n, err := t.number(comp, depth+1)
		if err != nil {
			return 0, err
		}
		parts += t.parts[comp]
		form += fmt.Sprintf(" %d", n)
	}
	if parts > maxCoderParts {
		return 0, invalid(inCoder(id), "consists of more than %d coders", maxCoderParts)
	}
	t.parts[id] = parts
	n, ok := t.canon[form]
	if !ok {
		n = len(t.canon)
		t.canon[form] = n
	}
	t.canonOf[id] = n
	return n, nil
}

// components is the number of components a model coder has; -1 for others.
func components(urn string) int {
	switch urn {
	case urnCoderKV, urnCoderWindowedValue, urnCoderTimer:
		return 2
	case urnCoderIterable, urnCoderStateBackedIterable, urnCoderNullable, urnCoderShardedKey,
		urnCoderLengthPrefix, urnCoderCustomWindow:
		return 1
	case urnCoderBytes, urnCoderString, urnCoderVarInt, urnCoderBool, urnCoderDouble,
		urnCoderGlobalWindow, urnCoderIntervalWindow:
		return 0
	}
	return -1
}

// equal says whether two checked coders are the same structure.
func (t *coderTable) equal(a, b string) bool {
	return a == b || t.mustNumber(a) == t.mustNumber(b)
}

func (t *coderTable) mustNumber(id string) int {
	n, err := t.number(id, 0)
	if err != nil {
		panic(fmt.Sprintf("coder %q used before it was checked: %v", id, err))
	}
	return n
}

// add returns the id of a coder made of the URN and components, whose ids
// must be known; name is the beginning of a new id.
func (t *coderTable) add(name, urn string, comps ...string) string {
	form := fmt.Sprintf("%q", append([]string{urn}, comps...))
	if id, ok := t.byForm[form]; ok {
		return id
	}
	id := name
	for i := 2; t.get(id) != nil; i++ {
		id = fmt.Sprintf("%s-%d", name, i)
	}
	t.added[id] = &pipepb.Coder{
		Spec:              &pipepb.FunctionSpec{Urn: urn},
		ComponentCoderIds: comps,
	}
	t.byForm[form] = id
	return id
}

// kv returns the id of a KV coder.
func (t *coderTable) kv(key, value string) string {
	return t.add(key+"+"+value, urnCoderKV, key, value)
}

// components2 returns the components of a KV coder.
func (t *coderTable) components2(id string) (key, value string, ok bool) {
	c := t.get(id)
	if c.GetSpec().GetUrn() != urnCoderKV {
		return "", "", false
	}
	return c.GetComponentCoderIds()[0], c.GetComponentCoderIds()[1], true
}

// first takes the first component of a KV coder, that many times.
func (t *coderTable) first(id string, times int) (string, bool) {
	for range times {
		key, _, ok := t.components2(id)
		if !ok {
			return "", false
		}
		id = key
	}
	return id, true
}

// element returns the component of an iterable coder.
func (t *coderTable) element(id string) (string, bool) {
	c := t.get(id)
	if c.GetSpec().GetUrn() != urnCoderIterable {
		return "", false
	}
	return c.GetComponentCoderIds()[0], true
}

// wire returns the coder itself where the runner can measure it, and else the
// coder with a length prefix around every part it cannot.
func (t *coderTable) wire(id string) wire {
	if w, ok := t.wires[id]; ok {
		return w
	}
	w := t.makeWire(id)
	t.wires[id] = w
	return w
}

func (t *coderTable) makeWire(id string) wire {
	c := t.get(id)
	urn := c.GetSpec().GetUrn()
	kind, known := wireKind(urn)
	if !known {
		return wire{t.add(id+"/prefixed", urnCoderLengthPrefix, id), coder.Must(coder.LengthPrefix)}
	}
	switch kind {
	case coder.KV, coder.Iterable, coder.StateBackedIterable, coder.Nullable, coder.ShardedKey:
	case coder.CustomWindow:
		return t.customWindow(id, c.GetComponentCoderIds()[0])
	case coder.Bytes, coder.LengthPrefix, coder.VarInt, coder.Bool, coder.Double,
		coder.GlobalWindow, coder.IntervalWindow:
		return wire{id, coder.Must(kind)}
	}
	same := true
	ids := make([]string, len(c.GetComponentCoderIds()))
	comps := make([]*coder.Coder, len(ids))
	for i, comp := range c.GetComponentCoderIds() {
		w := t.wire(comp)
		same = same && w.id == comp
		ids[i], comps[i] = w.id, w.coder
	}
	if same {
		return wire{id, coder.Must(kind, comps...)}
	}
	return wire{t.add(id+"/measured", urn, ids...), coder.Must(kind, comps...)}
}

// customWindow makes the wire coder of windows that only the SDK knows: their
// maximum timestamp, which is all the runner needs, before the window with a
// length prefix.
func (t *coderTable) customWindow(id, window string) wire {
	if t.get(window).GetSpec().GetUrn() != urnCoderLengthPrefix {
		window = t.add(window+"/prefixed", urnCoderLengthPrefix, window)
		id = t.add(id+"/measured", urnCoderCustomWindow, window)
	}
	return wire{id, coder.Must(coder.CustomWindow)}
}

// window is wire for a window coder.
func (t *coderTable) window(id string) wire {
	switch t.get(id).GetSpec().GetUrn() {
	case urnCoderGlobalWindow, urnCoderIntervalWindow, urnCoderCustomWindow:
		return t.wire(id)
	}
	prefixed := id
	if t.get(id).GetSpec().GetUrn() != urnCoderLengthPrefix {
		prefixed = t.add(id+"/prefixed", urnCoderLengthPrefix, id)
	}
	return wire{t.add(id+"/timestamped", urnCoderCustomWindow, prefixed), coder.Must(coder.CustomWindow)}
}

// timer is wire for the timer coder of an input with the given key coder.
func (t *coderTable) timer(id, inputKey string) (string, error) {
	c := t.get(id)
	if c.GetSpec().GetUrn() != urnCoderTimer {
		return "", invalid(inCoder(id), "is no timer coder but %q", c.GetSpec().GetUrn())
	}
	key, win := c.GetComponentCoderIds()[0], c.GetComponentCoderIds()[1]
	w := t.window(win)
	if inputKey == key && w.id == win {
		return id, nil
	}
	return t.add(id+"/measured", urnCoderTimer, inputKey, w.id), nil
}

// paged turns the wire coder of a grouped collection into one whose values
// may be read through the State API.
func (t *coderTable) paged(id string) (wire, bool) {
	k, v, ok := t.components2(id)
	if !ok {
		return wire{}, false
	}
	elem, ok := t.element(v)
	if !ok {
		return wire{}, false
	}
	key, value := t.wire(k), t.wire(elem)
	iter := t.add(v+"/paged", urnCoderStateBackedIterable, value.id)
	return wire{
		t.add(id+"/paged", urnCoderKV, key.id, iter),
		coder.Must(coder.KV, key.coder, coder.Must(coder.StateBackedIterable, value.coder)),
	}, true
}

// windowed returns the id of the coder of windowed values, for a port.
func (t *coderTable) windowed(value, window string) string {
	return t.add("windowed/"+value, urnCoderWindowedValue, value, window)
}

// bare returns the id of the coder of values without headers, in the global
// window, whose coder is given.
func (t *coderTable) bare(value, window string) string {
	id := t.add("bare/"+value, urnCoderParamWindowedValue, value, window)
	header := coder.PutHeader(nil, element.Header{
		Timestamp: element.MinTime, NumWindows: 1, Pane: []byte{coder.PaneOnlyFiring},
	})
	// The payload is an element that has no bytes, with their length.
	t.added[id].Spec.Payload = append(header, 0)
	return id
}

// describe prints a coder for error messages.
func (t *coderTable) describe(id string) string {
	c := t.get(id)
	urn := strings.TrimSuffix(strings.TrimPrefix(c.GetSpec().GetUrn(), "beam:coder:"), ":v1")
	if len(c.GetComponentCoderIds()) == 0 {
		return urn
	}
	parts := make([]string, 0, len(c.GetComponentCoderIds()))
	for _, comp := range c.GetComponentCoderIds() {
		parts = append(parts, t.describe(comp))
	}
	return urn + "<" + strings.Join(parts, ",") + ">"
}

// wireKind is the wire format of a coder URN, where the runner knows it.
func wireKind(urn string) (coder.Kind, bool) {
	switch urn {
	case urnCoderBytes, urnCoderString:
		return coder.Bytes, true
	case urnCoderVarInt:
		return coder.VarInt, true
	case urnCoderBool:
		return coder.Bool, true
	case urnCoderDouble:
		return coder.Double, true
	case urnCoderKV:
		return coder.KV, true
	case urnCoderIterable:
		return coder.Iterable, true
	case urnCoderStateBackedIterable:
		return coder.StateBackedIterable, true
	case urnCoderNullable:
		return coder.Nullable, true
	case urnCoderShardedKey:
		return coder.ShardedKey, true
	case urnCoderLengthPrefix:
		return coder.LengthPrefix, true
	case urnCoderGlobalWindow:
		return coder.GlobalWindow, true
	case urnCoderIntervalWindow:
		return coder.IntervalWindow, true
	case urnCoderCustomWindow:
		return coder.CustomWindow, true
	}
	return 0, false
}
