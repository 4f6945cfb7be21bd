package checkpoints

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"math"

	"github.com/gorunner/gorunner/execution/checkpoint"
	"github.com/gorunner/gorunner/shuffle/segment"
)

// indexName is the name of the file that says what else there is in a cut.
const indexName = "index"

// Index is what a cut says of itself, beside its list of files.
type Index struct {
	// Commit is the number of the job's last commit, Process which of its processes
	// has made the cut.
	Commit  uint64 `json:"commit"`
	Process uint64 `json:"process"`
	// Packs has the regions of each pack.
	Packs []indexedPack `json:"packs,omitempty"`
}

type indexedPack struct {
	Name string `json:"name"`
	// Regions are, one after the other, the number of the segment, the bytes from the
	// end of the one before, if that is in the same segment, and the size, as varints.
	Regions []byte `json:"regions"`
}

func makeIndex(commit, process uint64, all []*pack) ([]byte, error) {
	x := Index{Commit: commit, Process: process}
	for _, p := range all {
		x.Packs = append(x.Packs, indexedPack{p.file.Name, encodeRegions(p.regions)})
	}
	return json.Marshal(x)
}

func readIndex(b []byte) (*Index, error) {
	x := new(Index)
	if err := json.Unmarshal(b, x); err != nil {
		return nil, fmt.Errorf("index: %w: %w", checkpoint.ErrDamaged, err)
	}
	return x, nil
}

func encodeRegions(regions []segment.Extent) []byte {
	var b []byte
	var last segment.Extent
	for _, e := range regions {
		if e.File != last.File {
			last = segment.Extent{File: e.File}
		}
		b = binary.AppendUvarint(b, e.File)
		b = binary.AppendUvarint(b, uint64(e.From-last.To))
		b = binary.AppendUvarint(b, uint64(e.Bytes()))
		last = e
	}
	return b
}

func decodeRegions(b []byte) ([]segment.Extent, error) {
	var regions []segment.Extent
	var last segment.Extent
	for len(b) > 0 {
		var v [3]uint64
		for i := range v {
			n, size := binary.Uvarint(b)
			if size <= 0 || n > math.MaxInt64/4 {
				return nil, fmt.Errorf("index: %w: regions", checkpoint.ErrDamaged)
			}
			v[i], b = n, b[size:]
		}
		if v[0] != last.File {
			last = segment.Extent{File: v[0]}
		}
		from := last.To + int64(v[1])
		last = segment.Extent{File: v[0], From: from, To: from + int64(v[2])}
		if last.From < 0 || last.To < last.From {
			return nil, fmt.Errorf("index: %w: regions", checkpoint.ErrDamaged)
		}
		regions = append(regions, last)
	}
	return regions, nil
}
