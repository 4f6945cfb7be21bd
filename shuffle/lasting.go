package shuffle

import (
	"iter"

	"github.com/gorunner/gorunner/element"
)

// Last makes what of blocks is not on disk last, elements and pages, unless it is
// small. The blocks must be nobody else's yet.
func (s *Spill) Last(blocks iter.Seq[*element.Block]) {
	if s == nil || !s.Lasting {
		return
	}
	for b := range blocks {
		s.last(b.Data, &b.Stored)
		for _, page := range b.Pages {
			s.LastChunks(page.Chunks)
		}
	}
}

// LastChunks is Last for chunks.
func (s *Spill) LastChunks(chunks []element.Chunk) {
	if s == nil || !s.Lasting {
		return
	}
	for i := range chunks {
		s.last(chunks[i].Data, &chunks[i].Stored)
	}
}

func (s *Spill) last(data []byte, to *element.Stored) {
	if *to == nil && s.lasts(len(data)) {
		*to = NewLater(data)
	}
}

// Give gives back the memory of blocks, as [Pool.Give] does. Of those that last it
// takes what is on disk: others may have to be written yet.
func (s *Spill) Give(blocks []element.Block) {
	if !s.Lasting {
		s.Free.Give(blocks)
		return
	}
	given := make([]element.Block, 0, len(blocks))
	for i := range blocks {
		if b := &blocks[i]; b.Stored != nil && unwritten(b.Stored) == nil {
			given = append(given, *b)
		}
	}
	s.Free.Give(given)
}
