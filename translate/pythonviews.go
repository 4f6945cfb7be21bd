package translate

import (
	"bytes"
	"compress/bzip2"
	"encoding/base64"
	"io"

	pipepb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/pipeline_v1"
)

// urnPythonMapping marks a pickled window mapping of the Python SDK.
const urnPythonMapping = "beam:window_mapping_fn:pickled_python:v1"

// freshMapping is the pickle of
//
//	functools.partial(apache_beam.transforms.sideinputs._global_window_mapping_fn)
//
// in the SDK's packing: bzip2 within base64.
const freshMapping = "QlpoOTFBWSZTWTCnq2MAADPXwH4QAGEAARAAv+f+gkIAIABqKnqaPUyPU0B6jTaCARRk00yPUemiaBoa" +
	"ZEMFehVNXSNZYhkT4Z+FOTbqRITpHnKR4g902G4VwXNUCeIRchsJ/HYrZY3uVuKDSFaVYDVox6ZQo1Sbiyf8Pf4u5IpwoSBhT1bG"

// refresh makes Python's harness read a side input anew in each bundle.
//
// Where all side inputs of a DoFn are in the global window, that harness reads
// them once and for all, which misses what changes. It recognises them by the
// identity of the function that maps windows: another one that does the same
// makes it look. A mapping that is not exactly that function stays as it is.
func refresh(side *pipepb.SideInput) (*pipepb.FunctionSpec, bool) {
	spec := side.GetWindowMappingFn()
	if spec.GetUrn() != urnPythonMapping || !isGlobalMapping(spec.GetPayload()) {
		return spec, false
	}
	return &pipepb.FunctionSpec{Urn: urnPythonMapping, Payload: []byte(freshMapping)}, true
}

// isGlobalMapping says whether the payload is a pickled reference to the
// function that maps every window to the global one.
func isGlobalMapping(payload []byte) bool {
	const most = 128 // bytes of a reference to a function
	packed := base64.NewDecoder(base64.StdEncoding, bytes.NewReader(payload))
	pickle, err := io.ReadAll(io.LimitReader(bzip2.NewReader(packed), most+1))
	return err == nil && len(pickle) <= most &&
		bytes.Contains(pickle, []byte("apache_beam.transforms.sideinputs")) &&
		bytes.Contains(pickle, []byte("_global_window_mapping_fn")) &&
		!bytes.Contains(pickle, []byte("functools"))
}
