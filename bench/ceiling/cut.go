package main

import (
	"fmt"
	"slices"

	"github.com/gorunner/gorunner/element"
	"github.com/gorunner/gorunner/plan"
	"github.com/gorunner/gorunner/shuffle"
)

// fullBytes is the size of bundles that harnesses work best with.
const fullBytes = 16 << 20

// recut makes bundles of the same input as the recorded ones, in the order of
// their stages: of full size, but at least atLeast for each stage if there is so
// much. What must stay as it is does.
func (j *job) recut(bundles []*recorded, atLeast int) ([]*recorded, error) {
	byStage := map[plan.StageID][]*recorded{}
	var order []plan.StageID
	for _, b := range bundles {
		if byStage[b.stage.ID] == nil {
			order = append(order, b.stage.ID)
		}
		byStage[b.stage.ID] = append(byStage[b.stage.ID], b)
	}
	var out []*recorded
	for _, id := range order {
		of := byStage[id]
		if !j.divisible(of) {
			out = append(out, of...)
			continue
		}
		cut, err := j.recutStage(of, atLeast)
		if err != nil {
			return nil, fmt.Errorf("stage %s: %w", of[0].stage.Name, err)
		}
		out = append(out, cut...)
	}
	return out, nil
}

// divisible says whether the stage's bundles may have other bounds: those of
// unbounded input or with timers mean something, restrictions are no amount of
// work, and functions are called as somebody needs them.
func (j *job) divisible(bundles []*recorded) bool {
	x, ok := bundles[0].stage.Kind.(*plan.Executable)
	return ok && !x.Splittable && !x.TimeSorted && int(bundles[0].stage.ID) < len(j.plan.Stages) &&
		j.plan.Edges[bundles[0].stage.Input.Edge].Bounded &&
		!slices.ContainsFunc(bundles, func(b *recorded) bool { return len(b.timers) > 0 })
}

func (j *job) recutStage(bundles []*recorded, atLeast int) ([]*recorded, error) {
	var blocks []element.Block
	size := 0
	for _, b := range bundles {
		blocks = append(blocks, b.input...)
	}
	for i := range blocks {
		size += blocks[i].Size()
	}
	n := max(atLeast, (size+fullBytes-1)/fullBytes)
	n = (n + atLeast - 1) / atLeast * atLeast // none is left over for a last round
	var parts [][]element.Block
	var err error
	if bundles[0].stage.Input.Keyed {
		parts, err = j.byGroup(j.layout(bundles[0].stage), blocks, n)
	} else {
		parts, err = evenly(j.layout(bundles[0].stage), blocks, n)
	}
	if err != nil {
		return nil, err
	}
	var out []*recorded
	for _, p := range parts {
		if len(p) == 0 {
			continue
		}
		first := bundles[0]
		out = append(out, &recorded{
			stage: first.stage, input: p, time: first.time, stateCache: first.stateCache, viewCaches: first.viewCaches,
		})
	}
	return out, nil
}

// byGroup divides blocks, each of one key group, so that each group stays
// together and in order.
func (j *job) byGroup(layout *shuffle.Layout, blocks []element.Block, n int) ([][]element.Block, error) {
	parts := make([][]element.Block, n)
	for _, b := range blocks {
		e, err := layout.Cut(b.Data)
		if err != nil {
			return nil, err
		}
		i := int(shuffle.KeyGroup(e.Key(), j.plan.KeyGroups)) % n
		parts[i] = append(parts[i], b)
	}
	return parts, nil
}

// evenly divides blocks into parts with about as many elements each.
func evenly(layout *shuffle.Layout, blocks []element.Block, n int) ([][]element.Block, error) {
	count := 0
	for i := range blocks {
		count += blocks[i].Count
	}
	var parts [][]element.Block
	for ; n > 0 && count > 0; n-- {
		share := (count + n - 1) / n
		head, rest, err := layout.SplitAt(blocks, int64(share), int64(share))
		if err != nil {
			return nil, err
		}
		parts, blocks, count = append(parts, head), rest, count-share
	}
	return parts, nil
}
