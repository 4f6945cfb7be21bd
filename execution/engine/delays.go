package engine

import (
	"cmp"
	"slices"
	"time"

	"github.com/gorunner/gorunner/element"
)

// delayedBlock is work that is left for later.
type delayedBlock struct {
	due   time.Duration
	group element.KeyGroup
	block element.Block
}

// release moves what was delayed until now into the queues.
func (s *scheduler) release() {
	if s.delayed == 0 {
		return
	}
	for _, st := range s.stages {
		n := 0
		for n < len(st.delayed) && st.delayed[n].due <= s.clock {
			st.queue.Push(st.delayed[n].group, st.delayed[n].block)
			st.mark()
			n++
		}
		st.delayed = st.delayed[n:]
		s.delayed -= n
	}
}

// delayMax bounds delays, so that no sum of times overflows.
const delayMax = time.Duration(1) << 61

// leave takes a residual of a bundle in, now or later. Its hold begins at once.
//
// A job that is drained waits for nobody's clock; that what is left again and
// again is delayed nevertheless, by very little, keeps it from spinning.
func (s *scheduler) leave(b *bundle, r residual) {
	st, queue := b.stage, b.stage.queue
	if s.draining {
		r.delay = min(r.delay, s.config.checkpointInterval)
		if !b.work.truncated {
			queue, r.delay = st.incoming, 0
		}
	}
	at := place{group: r.group, truncated: b.truncated()}
	if r.delay > 0 {
		at.due = min(s.clock, delayMax) + min(r.delay, delayMax)
	}
	s.enter(st, st.hold, at, &r.block)
	if r.delay <= 0 {
		queue.Push(r.group, r.block)
		st.mark()
		return
	}
	s.delay(st, at.due, r.group, r.block)
}

// delay lets a block wait.
func (s *scheduler) delay(st *stageState, due time.Duration, g element.KeyGroup, b element.Block) {
	d := delayedBlock{due, g, b}
	i, _ := slices.BinarySearchFunc(st.delayed, d.due+1, func(a delayedBlock, due time.Duration) int {
		return cmp.Compare(a.due, due)
	})
	st.delayed = slices.Insert(st.delayed, i, d)
	s.delayed++
}
