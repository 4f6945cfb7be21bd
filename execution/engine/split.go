package engine

import (
	"cmp"
	"slices"
	"time"

	"github.com/gorunner/gorunner/element"
	"github.com/gorunner/gorunner/execution/watermark"
	"github.com/gorunner/gorunner/internal/invariants"
)

// A running bundle is split for two reasons. For idle slots it gives an
// even share of its work away. And it is checkpointed, which leaves it nothing to go on with:
// then what it has written is committed, and the rest takes its turn with all
// else that waits. That happens to bundles of endless elements after a while,
// and to any that has written a lot.

// splitTimes says when to ask for a split of one kind. Refusals double the
// interval.
type splitTimes struct {
	next     time.Duration
	refusals int
}

// answered sets the time of the next request.
func (t *splitTimes) answered(ok bool, now, interval time.Duration) {
	const refusalsMax = 6 // beyond it the interval is long enough
	t.refusals = min(t.refusals+1, refusalsMax)
	if ok {
		t.refusals = 0
	}
	t.next = now + interval<<t.refusals
}

// splitForIdle asks to split bundles for the idle slots of an environment, those
// first that still take longest, and returns when to look again, 0 for not
// before something happens. If there is no slot, but work for one, the environment is
// short of them.
func (s *scheduler) splitForIdle(env *environment) time.Duration {
	if env.id == native || env.free() == 0 {
		return 0
	}
	var next time.Duration
	var long [demands][]*bundle
	for _, b := range env.bundles {
		if !s.severable(b) || b.asked != nil || b.work.fires() || b.work.function != 0 {
			continue
		}
		if b.halve.next > s.now {
			next = earlier(next, b.halve.next)
			continue
		}
		if s.remaining(b) < s.config.splitInterval/2 {
			continue // it is not worth it
		}
		long[b.stage.demand] = append(long[b.stage.demand], b)
	}
	for d, bundles := range long {
		if len(bundles) > 0 {
			s.splitFor(env, s.idle(env, demand(d)), bundles)
		}
	}
	return next
}

// severable says whether another bundle could go on with a part of what a bundle
// has: of a keyed stage, with whole key groups, which may belong to its worker.
// What a bundle has sorted is not in the order of its input any more.
func (s *scheduler) severable(b *bundle) bool {
	st := b.stage
	return !b.work.under() && (!st.Input.Keyed || len(b.work.lease.Groups) > 1 && st.hold != watermark.Buffered &&
		(!s.sticky(st) || b.worker.free() > 0))
}

// splitFor asks to split bundles for so many slots, as evenly as it goes.
func (s *scheduler) splitFor(env *environment, idle int, bundles []*bundle) {
	if idle == 0 {
		env.width.short = true
		return
	}
	slices.SortStableFunc(bundles, func(a, b *bundle) int { return cmp.Compare(s.remaining(b), s.remaining(a)) })
	bundles = bundles[:min(idle, len(bundles))]
	for i, b := range bundles {
		parts := (idle + len(bundles) - 1 - i) / len(bundles)
		b.asked, b.fraction = &b.halve, 1/float64(parts+1)
		s.orders = append(s.orders, splitBundle{id: b.id, fraction: b.fraction, parts: parts})
	}
}

// checkpointDue asks for the checkpoints that are due, and returns when the
// next one is, 0 for none.
func (s *scheduler) checkpointDue() time.Duration {
	var next time.Duration
	for _, b := range s.toCheckpoint {
		switch {
		case b.asked != nil:
		case b.checkpoint.next <= s.now:
			b.asked, b.fraction = &b.checkpoint, 0
			s.orders = append(s.orders, splitBundle{id: b.id, fraction: 0, parts: 1})
		default:
			next = earlier(next, b.checkpoint.next)
		}
	}
	return next
}

// checkpointFrom lets a bundle be checkpointed from a time on, until it ends.
// Bundles with timers have nothing that could be left for later.
func (s *scheduler) checkpointFrom(b *bundle, at time.Duration) {
	if b.work.fires() {
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
// be executed at once, or, of a key group that it has begun with, as soon as the
// bundle has ended.
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
	if b.fraction > 0 && !b.stage.splittable {
		s.observeSplit(b, b.fraction, countOf(f.keep), restOf(f.rest))
	}
	if b.stage.Input.Keyed {
		s.giveBack(b, f.rest)
		if !b.work.under() { // whose other pieces may be of the same groups
			b.work.queue.Trim(&b.work.lease, f.freed)
		}
	} else {
		for _, r := range f.rest {
			s.leave(b, r)
		}
	}
	for i := range f.keep {
		at := place{group: element.Unkeyed, truncated: b.truncated()}
		if len(f.groups) > 0 {
			at.group = f.groups[i]
		}
		s.enter(b.stage, watermark.Running, at, &f.keep[i])
	}
	for i := range b.work.lease.Blocks {
		s.exit(b.stage, watermark.Running, &b.work.lease.Blocks[i])
	}
	b.work.lease.Blocks = f.keep
}

func restOf(rest []residual) (n int64) {
	for i := range rest {
		n += int64(rest[i].block.Count)
	}
	return n
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
				s.enter(st, st.hold, place{group: g, truncated: b.truncated()}, &r.block)
				blocks = append(blocks, r.block)
			}
		}
		queue.Return(g, blocks)
		st.mark()
		rest = rest[n:]
	}
}
