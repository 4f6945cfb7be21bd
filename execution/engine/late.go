package engine

import (
	"encoding/binary"

	"github.com/gorunner/gorunner/execution/metrics"
	"github.com/gorunner/gorunner/plan"
)

// droppedLate is the counter of the elements that a transform has not seen
// because they came too late; nothing where there are none.
func droppedLate(transform plan.TransformID, elements int64) []metrics.Info {
	if elements == 0 {
		return nil
	}
	return []metrics.Info{{
		URN:  "beam:metric:user:sum_int64:v1",
		Type: "beam:metrics:sum_int64:v1",
		Labels: map[string]string{
			"PTRANSFORM": string(transform), "NAMESPACE": "gorunner", "NAME": "droppedDueToLateness",
		},
		Payload: binary.AppendUvarint(nil, uint64(elements)),
	}}
}
