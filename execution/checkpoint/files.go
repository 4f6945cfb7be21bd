package checkpoint

import (
	"fmt"
	"slices"
	"time"

	"github.com/gorunner/gorunner/internal/invariants"
)

// files counts who needs which blobs.
type files struct {
	// references counts the entries, and the checkpoint under way, by blob.
	references map[BlobName]int
	// known says where files are stored for sure. What is known and has no
	// references is there for the next cut, and garbage after it.
	known map[fileID]BlobName
	// garbage are blobs that nobody will refer to any more.
	garbage []BlobName
}

func newFiles() files {
	return files{references: make(map[BlobName]int), known: make(map[fileID]BlobName)}
}

func (s *files) hold(fs []File) {
	for i := range fs {
		s.references[fs[i].Blob]++
	}
}

func (s *files) know(fs []File) {
	for i := range fs {
		s.known[fs[i].id()] = fs[i].Blob
	}
}

// release takes references back, but makes no garbage.
func (s *files) release(fs []File) {
	for i := range fs {
		blob := fs[i].Blob
		if s.references[blob]--; s.references[blob] <= 0 {
			invariants.Assert(s.references[blob] == 0, "blob %s: %d references", blob, s.references[blob])
			delete(s.references, blob)
		}
	}
}

// forget makes garbage of files that nobody refers to.
func (s *files) forget(fs []File) {
	for i := range fs {
		blob := fs[i].Blob
		if s.references[blob] > 0 {
			continue
		}
		if s.known[fs[i].id()] == blob {
			delete(s.known, fs[i].id())
		}
		s.garbage = append(s.garbage, blob)
	}
}

// collect makes garbage of all that is known and that nobody refers to.
func (s *files) collect() {
	var loose []BlobName
	for id, blob := range s.known {
		if s.references[blob] == 0 {
			loose = append(loose, blob)
			delete(s.known, id)
		}
	}
	slices.Sort(loose)
	s.garbage = append(s.garbage, loose...)
}

// collector deletes, one act at a time.
type collector struct {
	// list says that what earlier epochs have left behind is yet to be found.
	list    bool
	running bool
	// entry is that which is being deleted, if it is one.
	entry    *kept
	failures int
	// retryAt is when to try again after a failure, zero if there was none.
	retryAt time.Time
}

// delete begins to delete what comes next: entries before the files that they are
// the last to refer to, and no entry, not even one that was found damaged, before
// there is a newer one: a list, or the network, may have been wrong about it.
func (c *Coordinator) delete(now time.Time) {
	d := &c.collect
	if d.running || (!d.retryAt.IsZero() && now.Before(d.retryAt)) {
		return
	}
	d.retryAt, d.entry = time.Time{}, nil
	for i, k := range c.entries {
		if k.doomed && k.Slot < c.latest && c.restorableAfter(i) {
			d.running, d.entry = true, k
			c.do(Delete{Names: []BlobName{k.Slot.Blob()}})
			return
		}
	}
	switch {
	case d.list:
		d.running = true
		c.do(ListData{})
	case len(c.files.garbage) > 0:
		n := min(len(c.files.garbage), maxDelete)
		names := slices.Clone(c.files.garbage[:n])
		c.files.garbage = slices.Delete(c.files.garbage, 0, n)
		if invariants.Enabled {
			for _, name := range names {
				invariants.Assert(c.files.references[name] == 0, "blob %s is deleted and has references", name)
			}
		}
		d.running = true
		c.do(Delete{Names: names})
	}
}

// restorableAfter reports whether a job can be restored from a later entry.
func (c *Coordinator) restorableAfter(i int) bool {
	return c.ended || slices.ContainsFunc(c.entries[i+1:], func(k *kept) bool { return !k.broken })
}

// hasGarbage reports whether there is anything that is to be deleted.
func (c *Coordinator) hasGarbage() bool {
	return c.collect.list || len(c.files.garbage) > 0 || slices.ContainsFunc(c.entries, func(k *kept) bool { return k.doomed })
}

func (c *Coordinator) deleted(now time.Time, act Delete, o Outcome) {
	d := &c.collect
	d.running = false
	if o.Result != OK {
		if d.entry == nil {
			c.files.garbage = append(c.files.garbage, act.Names...)
		}
		c.deleteLater(now, fmt.Sprintf("delete %d objects from %s on: %s", len(act.Names), act.Names[0], o.Problem))
		return
	}
	d.failures = 0
	if d.entry == nil {
		return
	}
	c.files.release(d.entry.Files)
	c.files.forget(d.entry.Files)
	c.entries = slices.DeleteFunc(c.entries, func(k *kept) bool { return k == d.entry })
}

func (c *Coordinator) deleteLater(now time.Time, problem string) {
	d := &c.collect
	d.failures++
	d.retryAt = now.Add(c.backoff(d.failures))
	c.do(Report{Problem: problem})
}

// listed makes garbage of what earlier epochs have left behind.
func (c *Coordinator) listed(now time.Time, o Outcome) {
	c.collect.running = false
	if o.Result != OK {
		c.deleteLater(now, "list files: "+o.Problem)
		return
	}
	c.collect.list, c.collect.failures = false, 0
	for _, name := range o.Names {
		epoch, ok := epochOf(name)
		if ok && epoch < c.self.Epoch && c.files.references[name] == 0 {
			c.files.garbage = append(c.files.garbage, name)
		}
	}
}
