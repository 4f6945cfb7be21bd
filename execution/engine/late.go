package engine

import (
	"encoding/binary"
	"fmt"

	"github.com/gorunner/gorunner/coder"
	"github.com/gorunner/gorunner/element"
	"github.com/gorunner/gorunner/execution/metrics"
	"github.com/gorunner/gorunner/execution/windowing"
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

// dropLate takes the elements out whose windows have expired, and counts them,
// each once for each such window. Blocks without any are left as they are; most
// need not even be looked at, since windows do not end before the times in them.
func (p *pipe) dropLate(input []element.Block, watermark element.EventTime) (kept []element.Block, dropped int64, err error) {
	for i := range input {
		b := input[i]
		if b.MinTime < watermark {
			n, err := p.dropFrom(&b, watermark)
			if err != nil {
				return nil, 0, fmt.Errorf("late elements: %w", err)
			}
			dropped += n
		}
		if b.Count > 0 {
			kept = append(kept, b)
		}
	}
	return kept, dropped, nil
}

// dropFrom takes the late elements out of a block.
func (p *pipe) dropFrom(b *element.Block, watermark element.EventTime) (dropped int64, err error) {
	kept := element.Block{MinTime: element.MaxTime, Pages: b.Pages, Window: b.Window}
	for data := b.Data; len(data) > 0; {
		e, err := p.input.Cut(data)
		if err != nil {
			return 0, err
		}
		h, n, err := p.inTime(e.Header, watermark)
		if err != nil {
			return 0, err
		}
		if h.NumWindows > 0 {
			kept.Data = append(coder.PutHeader(kept.Data, h), e.Value...)
			kept.Count++
			kept.MinTime = min(kept.MinTime, h.Timestamp)
		}
		dropped += n
		data = data[e.Size:]
	}
	if dropped > 0 {
		*b = kept
	}
	return dropped, nil
}

// inTime returns the header without the windows that have expired, and their
// number.
func (p *pipe) inTime(h element.Header, watermark element.EventTime) (left element.Header, late int64, err error) {
	left = h
	left.Windows, left.NumWindows = nil, 0
	rest := h.Windows
	for range h.NumWindows {
		n, err := p.windowing.Window.Measure(rest)
		if err != nil {
			return h, 0, err
		}
		end, err := p.windowing.Window.WindowEnd(rest[:n])
		if err != nil {
			return h, 0, err
		}
		if windowing.Expiry(end, p.windowing.AllowedLateness) < watermark {
			late++
		} else {
			left.Windows = append(left.Windows, rest[:n]...)
			left.NumWindows++
		}
		rest = rest[n:]
	}
	return left, late, nil
}

// late is the counter of what the bundle has dropped.
func (x *execution) late() []metrics.Info {
	if x.dropped == 0 {
		return nil
	}
	k, ok := x.stage.Kind.(*plan.Executable)
	switch {
	case ok && len(k.States) > 0:
		return droppedLate(k.States[0].Transform, x.dropped)
	case ok && len(k.Timers) > 0:
		return droppedLate(k.Timers[0].Transform, x.dropped)
	case len(x.stage.SideInputs) > 0:
		return droppedLate(x.stage.SideInputs[0].Transform, x.dropped)
	}
	return nil
}
