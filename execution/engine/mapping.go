package engine

import (
	"bytes"
	"context"
	"fmt"

	"github.com/gorunner/gorunner/shuffle"
)

// mapWindows asks a function to map windows of a main input to those of a side
// input. A question is KV<nonce, window>, and so is its answer. That the
// function's edges have these coders is a property of plans.
func (d *driver) mapWindows(ctx context.Context, o mapWindows) windowsMapped {
	fn := d.plan.Stage(o.function)
	done := windowsMapped{stage: o.stage, side: o.side, windows: o.windows, to: make([][]byte, len(o.windows))}
	outputs, err := d.call(ctx, fn, questions(len(o.windows), func(b []byte, i int) []byte {
		return append(b, o.windows[i]...)
	}))
	if err != nil {
		done.err = err
		return done
	}
	layout := shuffle.EdgeLayout(d.plan.Edges[fn.Outputs[0].Edge])
	err = answers(layout, len(o.windows), outputs[0].Plain, func(i int, window []byte) error {
		done.to[i] = bytes.Clone(window)
		return nil
	})
	if err != nil {
		done.err = fmt.Errorf("function %s: %w", fn.Name, err)
	}
	return done
}
