package shuffle

import (
	"cmp"
	"fmt"
	"iter"

	"github.com/gorunner/gorunner/element"
)

// Last stores what of blocks is to last, not on disk yet and not small, elements
// and pages, many at a time. The blocks must be nobody else's yet.
func (s *Spill) Last(blocks iter.Seq[*element.Block]) error {
	if s == nil || !s.Lasting {
		return nil
	}
	b := batch{spill: s}
	for block := range blocks {
		b.add(block.Data, &block.Stored)
		for _, page := range block.Pages {
			b.addChunks(page.Chunks)
		}
	}
	return b.end()
}

// LastChunks is Last for chunks.
func (s *Spill) LastChunks(chunks []element.Chunk) error {
	if s == nil || !s.Lasting {
		return nil
	}
	b := batch{spill: s}
	b.addChunks(chunks)
	return b.end()
}

// batch is what is stored at a time.
type batch struct {
	spill *Spill
	data  [][]byte
	to    []*element.Stored
	bytes int
	// now says that even a little is stored.
	now bool
	err error
}

// add stores data, now or with what comes next, and says where it lies.
func (b *batch) add(data []byte, to *element.Stored) {
	if !b.spill.lasts(len(data)) || *to != nil || b.err != nil {
		return
	}
	b.data, b.to = append(b.data, data), append(b.to, to)
	if b.bytes += len(data); b.bytes >= lastBytes {
		b.flush()
	}
}

// addChunks adds chunks. Blocks that are made of others share pages, so that those
// must not wait for another time.
func (b *batch) addChunks(chunks []element.Chunk) {
	for i := range chunks {
		b.add(chunks[i].Data, &chunks[i].Stored)
		b.now = b.now || b.spill.lasts(len(chunks[i].Data))
	}
}

// end stores the rest, unless it is little.
func (b *batch) end() error {
	if b.bytes >= cmp.Or(b.spill.TogetherMin, lastTogetherMin) || b.now && b.bytes > 0 {
		b.flush()
	}
	return b.err
}

func (b *batch) flush() {
	stored, err := b.spill.Disk.StoreAll(b.data)
	if err != nil {
		b.err = fmt.Errorf("store %d blocks of %d bytes: %w", len(b.data), b.bytes, err)
		return
	}
	for i, s := range stored {
		*b.to[i] = s
	}
	b.data, b.to, b.bytes, b.now = b.data[:0], b.to[:0], 0, false
}

// Give gives back the memory of blocks, as [Pool.Give] does. Of those that last it
// takes what is stored: others may be about to be written with a commit.
func (s *Spill) Give(blocks []element.Block) {
	if !s.Lasting {
		s.Free.Give(blocks)
		return
	}
	given := make([]element.Block, 0, len(blocks))
	for i := range blocks {
		if blocks[i].Stored != nil {
			given = append(given, blocks[i])
		}
	}
	s.Free.Give(given)
}
