package fnapi

import (
	"fmt"
	"strings"
	"testing"

	"github.com/gorunner/gorunner/plan"
)

// A harness is told what it may keep, unless it would mix up versions.
func TestCacheTokens(t *testing.T) {
	tests := []struct {
		name         string
		capabilities []string
		state        string
		want         string
	}{
		{"one bundle at a time", nil, "s0", "state=s0 t/complete=e1 t/shown=v2"},
		{"state not to be kept", nil, "", "t/complete=e1 t/shown=v2"},
		{"many bundles", []string{capMultiCore}, "s0", "state=s0 t/complete=e1"},
		{"many bundles, announced", []string{capMultiCore, capStateCaching}, "s0", "state=s0 t/complete=e1 t/shown=v2"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			inBubble(t, Options{}, func(e *env) {
				w := e.expect(func(s *WorkerSpec) { s.Capabilities, s.Slots = test.capabilities, 4 })
				b := testBundle(1, &sink{}, "x")
				b.Stage.SideInputs = []plan.SideInput{
					{Edge: 1, Transform: "t", Tag: "complete"},
					{Edge: 2, View: 7, Transform: "t", Tag: "shown"},
				}
				b.StateCache, b.ViewCaches = []byte(test.state), [][]byte{[]byte("e1"), []byte("v2")}
				start(e.t, w, b)
				var got []string
				for _, token := range e.connect("w1").next().GetProcessBundle().GetCacheTokens() {
					what := "state"
					if side := token.GetSideInput(); side != nil {
						what = side.GetTransformId() + "/" + side.GetSideInputId()
					} else if token.GetUserState() == nil {
						what = "nothing"
					}
					got = append(got, fmt.Sprintf("%s=%s", what, token.GetToken()))
				}
				if text := strings.Join(got, " "); text != test.want {
					t.Errorf("got tokens %s, want %s", text, test.want)
				}
			})
		})
	}
}
