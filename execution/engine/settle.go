package engine

import (
	"slices"

	"github.com/gorunner/gorunner/element"
	"github.com/gorunner/gorunner/execution/harness"
	"github.com/gorunner/gorunner/execution/watermark"
	"github.com/gorunner/gorunner/internal/invariants"
	"github.com/gorunner/gorunner/plan"
	"github.com/gorunner/gorunner/shuffle"
)

// settle takes a bundle out of the running ones.
func (s *scheduler) settle(id harness.BundleID) *bundle {
	b := s.bundles[id]
	if b == nil {
		invariants.Failf("bundle %d is not running", id)
	}
	delete(s.bundles, id)
	env := b.stage.env
	env.bundles = slices.DeleteFunc(env.bundles, func(o *bundle) bool { return o == b })
	env.running[b.stage.demand]--
	b.stage.running--
	b.stage.mark()
	b.worker.used--
	if b.alone {
		env.quarantine.release(b.worker)
	}
	if !b.stage.source {
		s.relieving--
	}
	s.toCheckpoint = slices.DeleteFunc(s.toCheckpoint, func(o *bundle) bool { return o == b })
	return b
}

// commit makes the effects of a bundle true: output first, then the input is
// given up, so that the watermark never slips between the two.
func (s *scheduler) commit(f bundleDone) {
	b := s.settle(f.id)
	s.busyTime.end(s.now)
	b.stage.env.restarts.barren = 0
	s.ledger.touch(b.stage)
	s.observe(b)
	s.heard(b, f.requests)
	s.show(b.stage, f.shown)
	if b.work.function != 0 {
		s.commitTruncated(b.stage, &f.outputs[0])
	} else {
		s.commitOutput(b, f)
	}
	for _, r := range f.residuals {
		s.leave(b, r)
	}
	for i := range b.work.lease.Blocks {
		s.exit(b.stage, watermark.Running, &b.work.lease.Blocks[i])
	}
	fired := b.work.timers
	if len(f.loaded) > 0 {
		fired = slices.Concat(fired, f.loaded)
	}
	s.apply(b, s.lastTimers(b, fired, f.timers), f.parked)
	s.conclude(b.stage, b.work)
}

func (s *scheduler) commitOutput(b *bundle, f bundleDone) {
	for i, out := range b.stage.Outputs {
		b.stage.elementsOut += f.outputs[i].Count
		b.stage.bytesOut += f.outputs[i].Bytes
		s.deliver(out.Edge, &f.outputs[i])
	}
	for i := range b.work.lease.Blocks {
		block := &b.work.lease.Blocks[i]
		b.stage.elementsIn += int64(block.Count)
		b.stage.bytesIn += int64(block.Size())
	}
}

func (s *scheduler) deliver(edge plan.EdgeID, out *shuffle.Output) {
	for _, c := range s.consumers[edge] {
		if !c.Input.Keyed {
			for _, b := range out.Plain {
				s.arrive(c, element.Unkeyed, b)
			}
			continue
		}
		for g, blocks := range out.Keyed {
			for _, b := range blocks {
				s.arrive(c, element.KeyGroup(g), b)
			}
		}
	}
}

func (s *scheduler) retry(f bundleFailed) {
	b := s.settle(f.id)
	if f.lost && b.work.under() {
		b.work.suspicion.lethal = true
	}
	b.stage.env.failed++
	if f.lost {
		b.work.avoid = b.worker.id
		b.worker.lost = true // workerGone will come, but may come late
		b.worker.excused = b.worker.excused || b.alone
	}
	if b.alone || !f.lost || !b.work.under() {
		b.work.attempts++
	}
	if f.fatal || b.work.attempts >= s.config.maxAttempts {
		s.giveUp(b, f)
		return
	}
	s.again(b.stage, b.work)
	s.orders = append(s.orders, bundleRetried{BundleRetried{
		Stage: b.stage.ID, Bundle: f.id, Attempt: b.work.attempts, Err: f.err,
	}})
}
