package engine

import (
	"bytes"
	"fmt"
	"maps"
	"sync/atomic"
	"testing"

	"github.com/gorunner/gorunner/element"
	"github.com/gorunner/gorunner/shuffle"
)

// fakeDisk keeps what is stored in memory, as long as something refers to it.
type fakeDisk struct {
	// fails says whether to fail; nil never.
	fails          func() bool
	quota          *shuffle.Account // nil is none
	limit          int64
	stored, loaded atomic.Int64
}

func (d *fakeDisk) Store(data []byte) (element.Stored, error) {
	if d.fails != nil && d.fails() {
		return nil, fmt.Errorf("%w: no space left", shuffle.ErrDisk)
	}
	if total := d.stored.Add(int64(len(data))); d.limit > 0 && total > d.limit {
		return nil, fmt.Errorf("%w: more than the quota of %d bytes", shuffle.ErrDisk, d.limit)
	}
	if d.quota != nil {
		d.quota.Add(int64(len(data)))
	}
	return &fakeStored{d, bytes.Clone(data)}, nil
}

type fakeStored struct {
	disk *fakeDisk
	data []byte
}

func (s *fakeStored) Size() int { return len(s.data) }

func (s *fakeStored) Load() ([]byte, error) {
	s.disk.loaded.Add(1)
	if s.disk.fails != nil && s.disk.fails() {
		return nil, fmt.Errorf("%w: checksum", shuffle.ErrDisk)
	}
	return bytes.Clone(s.data), nil
}

// checkReleased says whether a job that has ended holds nothing.
func checkReleased(j *Job) error {
	usage := j.impl.opts.Memory.Usage()
	for _, use := range []string{"queues", "timers", "output", "running"} {
		if n := usage[use]; n != 0 {
			return fmt.Errorf("the job has ended and holds %v", usage)
		}
	}
	return nil
}

func TestLoad(t *testing.T) {
	d := &fakeDisk{}
	stored, err := d.Store([]byte("two"))
	if err != nil {
		t.Fatal(err)
	}
	input := []element.Block{{Data: []byte("one"), Count: 1}, {Stored: stored, Count: 2}}
	loaded, n, err := load(input)
	if err != nil || n != 3 || string(loaded[0].Data) != "one" || string(loaded[1].Data) != "two" || loaded[1].Count != 2 {
		t.Errorf("loaded %d bytes, %+v, %v", n, loaded, err)
	}
	if input[1].Data != nil || input[1].Stored == nil {
		t.Error("a retry would not find the input on disk")
	}
	if got, n, err := load(loaded); err != nil || n != 0 || &got[0] != &loaded[0] {
		t.Errorf("what is in memory was loaded: %d bytes, %v", n, err)
	}
}

func TestAccountsFollowCollectors(t *testing.T) {
	p := newPipes(forkedPlan())[0]
	budget := shuffle.NewBudget(nil, 0)
	p.account = budget.Account("output")
	c, other := newCollector(p), newCollector(p)
	for _, c := range []*collector{c, other} {
		if err := c.Write(0, windowed(0, nil, pair("k", "v"))); err != nil {
			t.Fatal(err)
		}
	}
	both := budget.Used()
	if both < 20 {
		t.Errorf("two collectors with an element each take %d bytes", both)
	}
	c.release()
	if got := budget.Used(); got != both/2 {
		t.Errorf("after one of them is released, %d of %d bytes are in use", got, both)
	}
	other.release()
	other.release()
	if usage := budget.Usage(); !maps.Equal(usage, map[string]int64{"output": 0}) {
		t.Errorf("after both are, %v", usage)
	}
}
