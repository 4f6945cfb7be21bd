package compat

import (
	"bytes"
	"fmt"
	"hash/crc32"
	"strings"

	pipepb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/pipeline_v1"
	"google.golang.org/protobuf/proto"
)

// state is what a state is to be read as.
type state struct {
	kind   string
	coders []string
}

// coderNames are those of the coders of a state, by how many it has.
//
//nolint:gochecknoglobals // a table of names
var coderNames = [...][]string{{"value coder"}, {"key coder", "value coder"}}

func stateOf(s *pipepb.StateSpec) state {
	switch v := s.GetSpec().(type) {
	case *pipepb.StateSpec_ReadModifyWriteSpec:
		return state{"value state", []string{v.ReadModifyWriteSpec.GetCoderId()}}
	case *pipepb.StateSpec_BagSpec:
		return state{"bag state", []string{v.BagSpec.GetElementCoderId()}}
	case *pipepb.StateSpec_CombiningSpec:
		return state{"combining state", []string{v.CombiningSpec.GetAccumulatorCoderId()}}
	case *pipepb.StateSpec_MapSpec:
		return state{"map state", []string{v.MapSpec.GetKeyCoderId(), v.MapSpec.GetValueCoderId()}}
	case *pipepb.StateSpec_MultimapSpec:
		return state{"multimap state", []string{v.MultimapSpec.GetKeyCoderId(), v.MultimapSpec.GetValueCoderId()}}
	case *pipepb.StateSpec_SetSpec:
		return state{"set state", []string{v.SetSpec.GetElementCoderId()}}
	case *pipepb.StateSpec_OrderedListSpec:
		return state{"ordered list state", []string{v.OrderedListSpec.GetElementCoderId()}}
	}
	return state{kind: "state of an unknown kind"}
}

// depthMax bounds the nesting of coders that are compared.
const depthMax = 100

// coder compares two coders by what they are, not by their ids.
func (c *comparison) coder(what, was, is string) {
	if !c.alike(was, is, depthMax) {
		c.add(Changed, "%s was %s, and is %s", what, show(c.a, was, depthMax), show(c.b, is, depthMax))
	}
}

func (c *comparison) alike(was, is string, depth int) bool {
	a, b := c.a.GetCoders()[was], c.b.GetCoders()[is]
	if a == nil || b == nil {
		return a == nil && b == nil && was == is
	}
	if depth == 0 || a.GetSpec().GetUrn() != b.GetSpec().GetUrn() || !bytes.Equal(a.GetSpec().GetPayload(), b.GetSpec().GetPayload()) ||
		len(a.GetComponentCoderIds()) != len(b.GetComponentCoderIds()) {
		return false
	}
	for i := range a.GetComponentCoderIds() {
		if !c.alike(a.GetComponentCoderIds()[i], b.GetComponentCoderIds()[i], depth-1) {
			return false
		}
	}
	return true
}

// show prints a coder; one that only an SDK knows by its URN and a digest of what
// else it is.
func show(p *pipeline, id string, depth int) string {
	coder := p.GetCoders()[id]
	if coder == nil || depth == 0 {
		return fmt.Sprintf("unknown (%q)", id)
	}
	name := strings.TrimSuffix(strings.TrimPrefix(coder.GetSpec().GetUrn(), "beam:coder:"), ":v1")
	if n := len(coder.GetSpec().GetPayload()); n > 0 {
		name += fmt.Sprintf("(%d bytes, %08x)", n, digest(coder.GetSpec().GetPayload()))
	}
	var parts []string
	for _, comp := range coder.GetComponentCoderIds() {
		parts = append(parts, show(p, comp, depth-1))
	}
	if len(parts) == 0 {
		return name
	}
	return name + "<" + strings.Join(parts, ", ") + ">"
}

// windowing compares two windowing strategies but for their ids.
func (c *comparison) windowing(what, was, is string) {
	a, b := c.a.GetWindowingStrategies()[was], c.b.GetWindowingStrategies()[is]
	if a == nil || b == nil {
		if (a == nil) != (b == nil) {
			c.add(Changed, "the windowing of %s is known of one pipeline only", what)
		}
		return
	}
	if !proto.Equal(a.GetWindowFn(), b.GetWindowFn()) {
		c.add(Changed, "the windows of %s were %s, and are %s", what, windows(a), windows(b))
		return
	}
	c.coder("the window coder of "+what, a.GetWindowCoderId(), b.GetWindowCoderId())
	for _, part := range []struct {
		name  string
		equal bool
	}{
		{"trigger", proto.Equal(a.GetTrigger(), b.GetTrigger())},
		{"accumulation mode", a.GetAccumulationMode() == b.GetAccumulationMode()},
		{"allowed lateness", a.GetAllowedLateness() == b.GetAllowedLateness()},
		{"output time", a.GetOutputTime() == b.GetOutputTime()},
		{"closing behavior", a.GetClosingBehavior() == b.GetClosingBehavior()},
		{"on-time behavior", a.GetOnTimeBehavior() == b.GetOnTimeBehavior()},
		{"merging", a.GetMergeStatus() == b.GetMergeStatus()},
	} {
		if !part.equal {
			c.add(Changed, "the %s of %s is another one", part.name, what)
		}
	}
}

func windows(w *pipepb.WindowingStrategy) string {
	fn := w.GetWindowFn()
	name := strings.TrimSuffix(strings.TrimPrefix(fn.GetUrn(), "beam:window_fn:"), ":v1")
	return fmt.Sprintf("%s(%d bytes, %08x)", name, len(fn.GetPayload()), digest(fn.GetPayload()))
}

// digest tells payloads apart for people.
func digest(b []byte) uint32 { return crc32.ChecksumIEEE(b) }
