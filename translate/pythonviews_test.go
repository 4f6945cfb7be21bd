package translate

import (
	"testing"

	pipepb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/pipeline_v1"
)

// globalMapping is what Python's SDK sends for a side input in the global
// window.
const globalMapping = "QlpoOTFBWSZTWW29K2cAACJ34EoAACAgAQgAAAC/596AQAQOACAASIp6mj1Bppk9TIHtU0FNT0jTQ9CYQNPTRDIm" +
	"Bd0r8s9K9NNArxThgM2Te+1nSjF6nhKFjgpkLgI+ZCbAu3QmeGCU2TAu5IpwoSDbelbO"

func TestRefresh(t *testing.T) {
	tests := []struct {
		name, urn, payload string
		fresh              bool
	}{
		{"global", urnPythonMapping, globalMapping, true},
		{"fresh already", urnPythonMapping, freshMapping, false},
		{"another urn", "beam:other", globalMapping, false},
		{"no payload", urnPythonMapping, "", false},
		{"no base64", urnPythonMapping, "?" + globalMapping, false},
		{"cut short", urnPythonMapping, globalMapping[:40], false},
		{"no bzip2", urnPythonMapping, "cGlja2xlCg==", false},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			side := &pipepb.SideInput{WindowMappingFn: &pipepb.FunctionSpec{Urn: test.urn, Payload: []byte(test.payload)}}
			got, fresh := refresh(side)
			want := test.payload
			if test.fresh {
				want = freshMapping
			}
			if fresh != test.fresh || string(got.GetPayload()) != want || got.GetUrn() != test.urn {
				t.Errorf("got %v, %v", got, fresh)
			}
		})
	}
}
