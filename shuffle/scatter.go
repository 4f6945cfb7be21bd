package shuffle

import (
	"math"

	"github.com/gorunner/gorunner/coder"
	"github.com/gorunner/gorunner/element"
)

// scatter puts elements into the blocks of their key groups, many at a time:
// they are cut first, and then copied group by group. To copy each at once would
// write to another block every time, and wait for memory as often.
type scatter struct {
	// ends are where the elements end, and next the one that follows each in its
	// group, by number.
	ends [scatterMax]uint32
	next [scatterMax]uint16
	// chains are those of each group; touched lists the groups that have one.
	chains  []chain
	touched []element.KeyGroup
}

// chain is the elements of a batch in one group: the numbers of the first and the
// last.
type chain struct{ first, last uint16 }

const noChain = math.MaxUint16

// A batch is bounded so that it stays in the processor's caches. A few elements
// are not worth what has to be prepared for one.
const (
	scatterMax      = 1024
	scatterBytesMax = 256 << 10
	scatterBytesMin = 2 << 10
)

func newScatter(groups int) *scatter {
	s := &scatter{chains: make([]chain, groups)}
	for g := range s.chains {
		s.chains[g].last = noChain
	}
	return s
}

// take writes elements from the beginning of data, as many as there are of those
// that are cut quickly and as a batch holds.
func (s *scatter) take(w *Writer, data []byte) (some, error) {
	n := s.cut(w, data)
	all := some{count: n, minTime: element.MaxTime, minEnd: element.MaxTime}
	if n > 0 {
		all.data = data[:s.ends[n-1]]
	}
	for _, g := range s.touched {
		at, err := s.write(w, data, g)
		if err != nil {
			return some{}, err
		}
		all.minTime = min(all.minTime, at)
	}
	s.touched = s.touched[:0]
	return all, nil
}

// write writes the elements of a group, and returns the least of their times.
func (s *scatter) write(w *Writer, data []byte, g element.KeyGroup) (element.EventTime, error) {
	c, b := s.chains[g], &w.groups[g]
	s.chains[g].last = noChain
	minTime := element.MaxTime
	for i, more := c.first, true; more; i = s.next[i] {
		more = i != c.last
		from := uint32(0)
		if i > 0 {
			from = s.ends[i-1]
		}
		one := some{data: data[from:s.ends[i]], count: 1, minTime: coder.TimeWithin(data[from:])}
		if w.want.Ends {
			const window = 12 // behind the time and the number of windows
			var err error
			if one.minEnd, err = w.layout.Window.WindowEnd(data[from+window:]); err != nil {
				return 0, err
			}
		}
		minTime = min(minTime, one.minTime)
		if err := w.add(b, &w.out.Keyed[g], w.groupSizes, one); err != nil {
			return 0, err
		}
	}
	return minTime, nil
}

// cut cuts the elements of a batch and returns how many they are.
func (s *scatter) cut(w *Writer, data []byte) int {
	n, at := 0, 0
	for n < scatterMax && at < scatterBytesMax && at < len(data) {
		value, keyEnd, end := w.quick.cut(data[at:])
		if end <= 0 {
			break
		}
		g := w.group(data[at+value : at+keyEnd])
		c := &s.chains[g]
		if c.last == noChain {
			c.first = uint16(n)
			s.touched = append(s.touched, g)
		} else {
			s.next[c.last] = uint16(n)
		}
		c.last = uint16(n)
		at += end
		s.ends[n] = uint32(at)
		n++
	}
	return n
}
