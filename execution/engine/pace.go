package engine

import (
	"time"

	"github.com/gorunner/gorunner/element"
	"github.com/gorunner/gorunner/shuffle"
)

// Bundles of user code are sized by bytes, which is what cheap ones cost, and by
// the time that elements of the stage have taken so far, for expensive ones:
// beyond config.bundleTime a bundle is long enough for its cost not to matter,
// and only delays what comes after it. The first bundles of a stage are small, so
// that there is something to go by.

const (
	// firstShare of a full bundle is what a stage gets before its pace is known.
	firstShare = 16
	// firstAsking is how many elements are in the first bundles of a stage that may
	// ask for something with each of them: one after the other, while few bundles
	// are executed at a time, and the keys of a bundle have to wait for its end.
	firstAsking = 128
	// bundleTimeShare of the time that a bundle takes at most is worth one even
	// where the share of a slot is less.
	bundleTimeShare = 20
)

// pace is how fast the elements of a stage are executed.
type pace struct {
	// known says that there is a number, measured that it is no mere guess.
	known, measured bool
	// nanos is the time that one takes, in a bundle; it follows the latest ones.
	nanos float64
}

// observe takes a time into account that so many elements took.
func (p *pace) observe(took time.Duration, elements int64) {
	one := float64(took) / float64(elements)
	if p.measured {
		one = (p.nanos + one) / 2
	}
	*p = pace{known: true, measured: true, nanos: one}
}

// guess takes a time into account that so many elements took at least, or so.
// With more than a few it is as good as measured.
func (p *pace) guess(took time.Duration, elements int64) {
	const few = 4
	if !p.measured {
		*p = pace{known: true, measured: elements > few, nanos: float64(took) / float64(elements)}
	}
}

// of is the time that so many elements take.
func (p *pace) of(elements int64) time.Duration {
	return time.Duration(min(p.nanos*float64(elements), float64(delayMax)))
}

// in is how many elements are executed in a time, at least one.
func (p *pace) in(t time.Duration) int64 {
	const most = 1 << 40
	return max(1, int64(min(float64(t)/max(p.nanos, 1), most)))
}

// sizedByTime says whether bundles of the stage are: those without end take what
// there is, and the runner's own operators are known to be fast.
func (s *scheduler) sizedByTime(st *stageState) bool {
	return s.config.bundleTime > 0 && st.env.id != native && !st.endless
}

// shorten bounds what a bundle of the stage gets by the time that it takes: an
// even share for each slot of what there is, as long as that is worth a bundle.
func (s *scheduler) shorten(st *stageState, l *shuffle.Limit, count, slots int64) {
	if !s.sizedByTime(st) {
		return
	}
	if !st.pace.known {
		l.Bytes = max(1, min(l.Bytes, s.config.bundleBytes/firstShare))
		if st.demand != computing && (l.Elements == 0 || l.Elements > firstAsking) {
			l.Elements = firstAsking
		}
		return
	}
	share := max((count+slots-1)/slots, st.pace.in(s.config.bundleTime/bundleTimeShare))
	most := min(share, st.pace.in(s.config.bundleTime))
	if l.Elements == 0 || most < l.Elements {
		l.Elements = most
	}
}

// observe learns from a bundle that has ended.
func (s *scheduler) observe(b *bundle) {
	elements := countOf(b.work.lease.Blocks)
	if elements == 0 || b.work.fires() || b.work.function != 0 || b.stage.env.id == native {
		return
	}
	st := b.stage
	if st.pace.measured {
		s.judge(st.env, b.began, st.pace.of(elements))
	}
	// What bundles take during a trial is not what they are compared with.
	if t := &st.env.width.trial; !st.pace.measured || t.from == 0 || b.began < t.since {
		st.pace.observe(s.now-b.began, elements)
	}
}

// observeSplit learns from a split, where no bundle has ended yet: what remained
// was divided by a known fraction, and so tells how much is done.
func (s *scheduler) observeSplit(b *bundle, fraction float64, keep, rest int64) {
	if b.stage.pace.measured || fraction >= 1 || rest == 0 {
		return
	}
	done := float64(keep+rest) - float64(rest)/(1-fraction)
	b.stage.pace.guess(s.now-b.began, max(1, int64(done)))
}

// remaining estimates how long a bundle still takes: as long again as it has
// taken, if nothing else is known.
func (s *scheduler) remaining(b *bundle) time.Duration {
	elapsed := s.now - b.began
	if b.stage.pace.known {
		if left := b.stage.pace.of(countOf(b.work.lease.Blocks)) - elapsed; left > 0 {
			return left
		}
	}
	return elapsed
}

func countOf(blocks []element.Block) (n int64) {
	for i := range blocks {
		n += int64(blocks[i].Count)
	}
	return n
}
