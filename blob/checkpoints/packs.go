package checkpoints

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/gorunner/gorunner/execution/checkpoint"
	"github.com/gorunner/gorunner/shuffle/segment"
)

const (
	// packBytes is the size of a pack, beyond which it gets nothing but a single
	// region that is larger.
	packBytes = 16 << 20
	// deadShare is the share of a pack that is still needed, one of so many, below
	// which that is packed anew.
	deadShare = 4
)

// pack is a file of regions.
type pack struct {
	file checkpoint.File
	// regions are in order.
	regions []segment.Extent
	// live is how much of it the last cut has needed.
	live int64
	// stored says that it has been uploaded.
	stored bool
}

// packs knows in which packs regions are that were uploaded before. It belongs to
// one goroutine.
type packs struct {
	// process and last make names that were not used before.
	process string
	last    int
	all     []*pack
}

// cut returns the packs that have all the regions, which are in order: those that
// are there, and new ones.
func (p *packs) cut(regions []segment.Extent) (known, fresh []*pack) {
	p.all = slices.DeleteFunc(p.all, func(k *pack) bool { return !k.stored })
	missing := p.count(regions)
	p.all = slices.DeleteFunc(p.all, func(k *pack) bool { return k.live*deadShare < k.file.Size })
	known = slices.Clone(p.all)
	var next *pack
	for _, e := range missing {
		if next == nil || next.live > 0 && next.live+e.Bytes() > packBytes {
			p.last++
			next = &pack{file: checkpoint.File{Kind: checkpoint.Segment, Name: fmt.Sprintf("pack-%s-%08x", p.process, p.last)}}
			fresh = append(fresh, next)
		}
		next.regions = append(next.regions, e)
		next.live += e.Bytes()
		next.file.Size = next.live
	}
	p.all = append(p.all, fresh...)
	return known, fresh
}

// count finds out how much of each pack is needed, and returns the regions that are
// in none, or in one of which too little is.
func (p *packs) count(regions []segment.Extent) (missing []segment.Extent) {
	type place struct {
		segment.Extent
		pack *pack
	}
	var places []place
	for _, k := range p.all {
		k.live = 0
		for _, e := range k.regions {
			places = append(places, place{e, k})
		}
	}
	slices.SortFunc(places, func(a, b place) int { return order(a.Extent, b.Extent) })
	// Where regions are in packs: the place that begins last before each, as places
	// do not overlap.
	in := make([]*pack, len(regions))
	at := 0
	for i, e := range regions {
		for at < len(places) && order(places[at].Extent, e) <= 0 {
			at++
		}
		if at == 0 {
			continue
		}
		if before := places[at-1]; before.File == e.File && before.To >= e.To {
			in[i] = before.pack
			before.pack.live += e.Bytes()
		}
	}
	for i, e := range regions {
		if in[i] == nil || in[i].live*deadShare < in[i].file.Size {
			missing = append(missing, e)
		}
	}
	return missing
}

func order(a, b segment.Extent) int {
	return cmp.Or(cmp.Compare(a.File, b.File), cmp.Compare(a.From, b.From))
}
