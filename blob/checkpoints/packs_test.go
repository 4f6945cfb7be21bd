package checkpoints

import (
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/gorunner/gorunner/shuffle/segment"
)

// Whatever comes and goes, each cut has every region in a pack that is stored or
// new; what is stored is not packed again as long as a quarter of its pack is
// needed, and not more than four times of what is needed is kept.
func TestPacks(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := &packs{process: "p"}
		var live []segment.Extent
		at := map[uint64]int64{}
		for range rapid.IntRange(1, 12).Draw(t, "cuts") {
			live = slices.DeleteFunc(live, func(segment.Extent) bool { return rapid.IntRange(0, 2).Draw(t, "dies") == 0 })
			before := slices.Clone(live)
			for range rapid.IntRange(0, 30).Draw(t, "born") {
				file := rapid.Uint64Range(1, 3).Draw(t, "file")
				size := rapid.Int64Range(1, 7<<20).Draw(t, "size")
				live = append(live, segment.Extent{File: file, From: at[file], To: at[file] + size})
				at[file] += size + rapid.Int64Range(0, 100).Draw(t, "gap")
			}
			slices.SortFunc(live, order)
			wasStored := map[segment.Extent]bool{}
			for _, k := range p.all {
				needed := int64(0)
				for _, e := range before {
					if k.stored && slices.Contains(k.regions, e) {
						needed += e.Bytes()
					}
				}
				for _, e := range k.regions {
					wasStored[e] = wasStored[e] || k.stored && needed*deadShare >= k.file.Size
				}
			}
			known, fresh := p.cut(live)
			checkCut(t, live, known, fresh, wasStored)
			for _, k := range fresh {
				k.stored = rapid.IntRange(0, 3).Draw(t, "upload") > 0
			}
		}
	})
}

func checkCut(t *rapid.T, live []segment.Extent, known, fresh []*pack, wasStored map[segment.Extent]bool) {
	t.Helper()
	needed, held := int64(0), int64(0)
	for _, e := range live {
		needed += e.Bytes()
	}
	covered := map[segment.Extent]bool{}
	for _, k := range known {
		if !k.stored {
			t.Fatalf("%s is listed and was not stored", k.file.Name)
		}
		for _, e := range k.regions {
			covered[e] = true
		}
		held += k.file.Size
	}
	for _, k := range fresh {
		size := int64(0)
		for _, e := range k.regions {
			if wasStored[e] {
				t.Fatalf("%+v is packed again", e)
			}
			if !slices.Contains(live, e) {
				t.Fatalf("%+v is dead and packed", e)
			}
			covered[e] = true
			size += e.Bytes()
		}
		if size != k.file.Size || size > packBytes && len(k.regions) > 1 {
			t.Fatalf("%s of %d bytes has %d", k.file.Name, k.file.Size, size)
		}
		held += size
	}
	for _, e := range live {
		if !covered[e] {
			t.Fatalf("%+v is in no pack", e)
		}
	}
	if held > deadShare*needed {
		t.Fatalf("%d bytes are kept for %d", held, needed)
	}
}
