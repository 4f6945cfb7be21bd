package engine

import (
	"maps"
	"slices"
	"time"

	"github.com/gorunner/gorunner/element"
	"github.com/gorunner/gorunner/execution/watermark"
	"github.com/gorunner/gorunner/internal/invariants"
)

// A running bundle is split for two reasons. For an idle slot it gives half of
// its work away. And it is checkpointed, which leaves it nothing to go on with:
// then what it has written is committed, and the rest takes its turn with all
// else that waits. That happens to bundles of endless elements after a while,
// and to any that has written a lot.

// splitForIdle asks to split the bundles that have run longest, one for each
// idle slot, and returns when to look again, 0 for not before something
// happens.
func (s *scheduler) splitForIdle(env *environment) time.Duration {
	if env.id == native {
		return 0
	}
	var next time.Duration
	idle := env.free()
	for _, id := range slices.Sorted(maps.Keys(s.bundles)) {
		b := s.bundles[id]
		if idle == 0 {
			break
		}
		if b.stage.env != env || b.stage.Input.Keyed || b.asked != nil || len(b.work.timers) > 0 || b.work.function != 0 {
			continue
		}
		if b.halve.next > s.now {
			next = earlier(next, b.halve.next)
			continue
		}
		b.asked = &b.halve
		idle--
		s.orders = append(s.orders, splitBundle{id: b.id, fraction: 0.5})
	}
	return next
}

// checkpointDue asks for the checkpoints that are due, and returns when the
// next one is, 0 for none.
func (s *scheduler) checkpointDue() time.Duration {
	var next time.Duration
	for _, b := range s.toCheckpoint {
		switch {
		case b.asked != nil:
		case b.checkpoint.next <= s.now:
			b.asked = &b.checkpoint
			s.orders = append(s.orders, splitBundle{id: b.id, fraction: 0})
		default:
			next = earlier(next, b.checkpoint.next)
		}
	}
	return next
}

// checkpointFrom lets a bundle be checkpointed from a time on, until it ends.
// Bundles with timers have nothing that could be left for later.
func (s *scheduler) checkpointFrom(b *bundle, at time.Duration) {
	if len(b.work.timers) > 0 {
		return
	}
	if !slices.Contains(s.toCheckpoint, b) {
		s.toCheckpoint = append(s.toCheckpoint, b)
	}
	b.checkpoint.next = at
}

// full checkpoints a bundle that has written enough.
func (s *scheduler) full(f bundleFull) {
	if b := s.bundles[f.id]; b != nil {
		s.checkpointFrom(b, s.now)
	}
}

// split replaces the input of a running bundle by what it keeps; the rest can
// be executed at once, or, of a key, as soon as the bundle has ended.
func (s *scheduler) split(f bundleSplit) {
	b := s.bundles[f.id]
	if b == nil {
		invariants.Assert(!f.ok, "bundle %d was split after its end", f.id)
		return
	}
	invariants.Assert(b.asked != nil, "bundle %d was split and nobody asked", f.id)
	interval := s.config.splitInterval
	if b.asked == &b.checkpoint {
		interval = s.config.checkpointInterval
	}
	b.asked.answered(f.ok, s.now, interval)
	b.asked = nil
	if !f.ok {
		return
	}
	if b.stage.Input.Keyed {
		s.giveBack(b, f.rest)
	} else {
		for _, r := range f.rest {
			s.leave(b, r)
		}
	}
	for i := range f.keep {
		s.enter(b.stage, watermark.Running, &f.keep[i])
	}
	for i := range b.work.lease.Blocks {
		s.exit(b.stage, watermark.Running, &b.work.lease.Blocks[i])
	}
	b.work.lease.Blocks = f.keep
}

// giveBack puts the rest of a bundle of a keyed stage back to where it came
// from: ahead of what has come to the queues of its groups since.
func (s *scheduler) giveBack(b *bundle, rest []residual) {
	st, queue := b.stage, b.stage.queue
	if s.draining && !b.work.truncated {
		queue = st.incoming
	}
	for len(rest) > 0 {
		g := rest[0].group
		n := 0
		var blocks []element.Block
		for ; n < len(rest) && rest[n].group == g; n++ {
			if r := rest[n]; r.delay > 0 {
				s.leave(b, r)
			} else {
				s.enter(st, st.hold, &r.block)
				blocks = append(blocks, r.block)
			}
		}
		queue.Return(g, blocks)
		rest = rest[n:]
	}
}
