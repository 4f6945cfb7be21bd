package segment

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/gorunner/gorunner/element"
	"github.com/gorunner/gorunner/shuffle"
)

const namePrefix = "segment-"

// nameOf is the name of the file of a segment.
func nameOf(id uint64) string { return fmt.Sprintf("%s%016x", namePrefix, id) }

// idOf reads what nameOf wrote.
func idOf(name string) (uint64, bool) {
	id, err := strconv.ParseUint(strings.TrimPrefix(name, namePrefix), 16, 64)
	return id, err == nil && nameOf(id) == name
}

// found is what a disk finds of the process before.
type found struct {
	// names are the segments that nobody has asked for yet.
	names map[uint64]string
	// segments are those that were asked for, regions what was asked for of them.
	segments map[uint64]*segment
	regions  map[element.Place]*region
}

// find looks for segments among the names of files.
func (d *Disk) find(names []string) {
	d.found = &found{names: make(map[uint64]string), segments: make(map[uint64]*segment), regions: make(map[element.Place]*region)}
	for _, name := range names {
		if id, ok := idOf(name); ok {
			d.found.names[id] = name
			d.last = max(d.last, id)
		}
	}
}

// create makes the file of a segment. The caller holds mu.
func (d *Disk) create(id uint64) (File, error) {
	if !d.params.Named {
		return d.params.Files.CreateTemp(d.params.Dir)
	}
	d.created = true
	return d.params.Files.Create(d.params.Dir, nameOf(id))
}

// wrote notes that something was written to a segment.
func (d *Disk) wrote(s *segment) {
	if !d.params.Named {
		return
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.unsynced == nil {
		d.unsynced = make(map[*segment]struct{})
	}
	d.unsynced[s] = struct{}{}
}

// Sync makes everything whose Store has returned outlive the end of the machine.
func (d *Disk) Sync() error {
	d.mu.Lock()
	unsynced, created := d.unsynced, d.created
	d.unsynced, d.created = nil, false
	d.mu.Unlock()
	if created {
		if err := d.params.Files.SyncDir(d.params.Dir); err != nil {
			return fmt.Errorf("%w: sync %s: %w", shuffle.ErrDisk, d.params.Dir, explain(err))
		}
	}
	for s := range unsynced {
		if err := s.file.Sync(); err != nil && d.isOpen(s) {
			return fmt.Errorf("%w: sync %s: %w", shuffle.ErrDisk, s.file.Name(), explain(err))
		}
	}
	return nil
}

// isOpen says that there is anything left of a segment.
func (d *Disk) isOpen(s *segment) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	_, open := d.open[s]
	return open
}

// errSwept is the answer to who asks too late.
var errSwept = errors.New("what nobody had asked for was removed")

// At finds what a process before has stored. It may be called until Sweep is, by
// one goroutine.
func (d *Disk) At(p element.Place) (element.Stored, error) {
	r, err := d.at(p)
	if err != nil {
		return nil, fmt.Errorf("%w: %d bytes at %d of %s in %s: %w", shuffle.ErrDisk, p.Bytes, p.Offset, nameOf(p.File), d.params.Dir, err)
	}
	return r, nil
}

func (d *Disk) at(p element.Place) (*region, error) {
	if d.found == nil {
		return nil, errSwept
	}
	if r := d.found.regions[p]; r != nil {
		return r, nil
	}
	s := d.found.segments[p.File]
	if s == nil {
		var err error
		if s, err = d.reopen(p.File); err != nil {
			return nil, err
		}
		d.found.segments[p.File] = s
	}
	if p.Bytes < headerSize || p.Offset < fileHeaderSize || p.Offset+uint64(p.Bytes) > uint64(s.size) {
		return nil, fmt.Errorf("%w: the file ends at %d", errCorrupt, s.size)
	}
	d.mu.Lock()
	s.references++
	d.mu.Unlock()
	at := int64(p.Offset)
	r := newRegion(extent{s, at, at + int64(p.Bytes)}, at, []part{{size: p.Size, stored: p.Bytes}})
	d.found.regions[p] = r
	return r, nil
}

// reopen opens a segment of the process before. It has a reference until it is
// swept.
func (d *Disk) reopen(id uint64) (*segment, error) {
	name, ok := d.found.names[id]
	if !ok {
		return nil, fmt.Errorf("%w: there is no such file", errCorrupt)
	}
	file, err := d.params.Files.Open(d.params.Dir, name)
	if err != nil {
		return nil, err
	}
	s := &segment{disk: d, file: file, id: id, references: 1}
	if s.size, err = file.Size(); err == nil {
		err = s.check()
	}
	if err != nil {
		return nil, errors.Join(err, file.Close())
	}
	delete(d.found.names, id)
	d.mu.Lock()
	defer d.mu.Unlock()
	d.open[s] = struct{}{}
	d.hold(s, s.size)
	return s, nil
}

// Sweep removes what a process before has left and nobody has asked for.
func (d *Disk) Sweep() error {
	f := d.found
	d.found = nil
	if f == nil {
		return nil
	}
	var errs []error
	for _, name := range f.names {
		errs = append(errs, d.params.Files.Remove(d.params.Dir, name))
	}
	places := slices.SortedFunc(maps.Keys(f.regions), func(a, b element.Place) int {
		return cmp.Or(cmp.Compare(a.File, b.File), cmp.Compare(a.Offset, b.Offset))
	})
	for id, s := range f.segments {
		from, _ := slices.BinarySearchFunc(places, id, func(p element.Place, id uint64) int { return cmp.Compare(p.File, id) })
		var free []extent
		at := int64(fileHeaderSize)
		for ; from < len(places) && places[from].File == id; from++ {
			p := places[from]
			if int64(p.Offset) > at {
				free = append(free, extent{s, at, int64(p.Offset)})
			}
			at = max(at, int64(p.Offset)+int64(p.Bytes))
		}
		if at < s.size {
			free = append(free, extent{s, at, s.size})
		}
		s.punch(free)
		d.mu.Lock()
		last := d.unref(s)
		d.mu.Unlock()
		if last {
			s.end()
		}
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("%w: sweep %s: %w", shuffle.ErrDisk, d.params.Dir, err)
	}
	return nil
}
