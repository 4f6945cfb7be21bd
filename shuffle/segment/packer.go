package segment

import (
	"fmt"
	"math"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/klauspost/compress/zstd"
)

// packer compresses regions where that pays. First it must make them small
// enough. Then it must save time: more in writing and reading less than
// compressing and decompressing cost, both as they were measured of late. A file
// that is written to the system's cache is faster than any compression, one that
// waits for a slow disk is not. Where space is scarce, time does not matter.
//
// What is tried is a sample from the middle of a region; after a number of
// samples that were not worth it, only every so many regions are tried.
type packer struct {
	ratio float64
	// now is the clock; nil, and all that is small enough pays.
	now func() time.Time
	// encoder and decoder are made when they are needed. Either works on a number
	// of regions at a time and lets others wait.
	encoder func() (*zstd.Encoder, error)
	decoder func() (*zstd.Decoder, error)
	// failed counts the samples since the last that was worth it, skipped the
	// regions that were not tried.
	failed, skipped atomic.Uint32
	// writing and packing are what these cost.
	writing, packing cost
}

const (
	// packedMin is the size of the smallest region that is compressed.
	packedMin   = 4 << 10
	sampleBytes = 8 << 10
	// patience is the number of samples that are not worth it, after which only
	// one region of resampled is tried.
	patience  = 8
	resampled = 16
	// packWindow is how far back matches are looked for, which is what an encoder
	// keeps.
	packWindow = 512 << 10
	// unpacking is what decompressing costs, as a share of compressing.
	unpacking = 0.4
)

func newPacker(ratio float64, codecs int) *packer {
	return &packer{
		ratio: ratio,
		encoder: sync.OnceValues(func() (*zstd.Encoder, error) {
			return zstd.NewWriter(nil,
				zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithEncoderConcurrency(codecs),
				zstd.WithWindowSize(packWindow), zstd.WithLowerEncoderMem(true), zstd.WithEncoderCRC(false))
		}),
		decoder: sync.OnceValues(func() (*zstd.Decoder, error) {
			return zstd.NewReader(nil,
				zstd.WithDecoderConcurrency(codecs), zstd.WithDecoderLowmem(true),
				zstd.WithDecoderMaxMemory(regionMax), zstd.WithDecodeAllCapLimit(true))
		}),
	}
}

// cost is a moving average of nanoseconds for a byte, 0 if it is not known.
type cost struct{ bits atomic.Uint64 }

func (c *cost) get() float64 { return math.Float64frombits(c.bits.Load()) }

// add enters that n bytes took so long. Of two at a time one may be lost.
func (c *cost) add(n int, took time.Duration) {
	const weight = 1.0 / 16
	one := float64(took) / float64(max(n, 1))
	if old := c.get(); old > 0 {
		one = old + weight*(one-old)
	}
	c.bits.Store(math.Float64bits(one))
}

// measure calls f, which works on n bytes, and enters what it took.
func (p *packer) measure(c *cost, n int, f func()) {
	if p.now == nil {
		f()
		return
	}
	begin := p.now()
	f()
	c.add(n, p.now().Sub(begin))
}

// pack appends data to dst, compressed if that pays. scarce says that space is.
func (p *packer) pack(dst, data []byte, scarce bool) ([]byte, codec) {
	if packed, ok := p.compress(dst, data, scarce); ok {
		return packed, zstandard
	}
	return append(dst, data...), plain
}

func (p *packer) compress(dst, data []byte, scarce bool) (packed []byte, ok bool) {
	if p.ratio < 0 || len(data) < packedMin || !p.tries() {
		return nil, false
	}
	encoder, err := p.encoder()
	if err != nil {
		return nil, false // plain will do
	}
	encode := func(data []byte) {
		p.measure(&p.packing, len(data), func() { packed = encoder.EncodeAll(data, dst) })
	}
	if len(data) > 2*sampleBytes {
		sample := data[(len(data)-sampleBytes)/2:][:sampleBytes]
		if encode(sample); !p.pays(len(packed)-len(dst), len(sample), scarce) {
			return nil, false
		}
	}
	encode(data)
	return packed, p.pays(len(packed)-len(dst), len(data), scarce)
}

// tries says whether a region is worth a try, after what became of the last
// ones.
func (p *packer) tries() bool {
	return p.failed.Load() < patience || p.skipped.Add(1)%resampled == 0
}

// pays says whether it pays to make packed bytes of size, and remembers it.
func (p *packer) pays(packed, size int, scarce bool) bool {
	ratio := float64(packed) / float64(size)
	saved, spent := 2*(1-ratio)*p.writing.get(), (1+unpacking)*p.packing.get()
	if ratio > p.ratio || !scarce && p.now != nil && saved < spent {
		p.failed.Add(1)
		return false
	}
	p.failed.Store(0)
	return true
}

// unpack appends the size bytes that were compressed.
func (p *packer) unpack(dst, packed []byte, size int) ([]byte, error) {
	decoder, err := p.decoder()
	if err != nil {
		return nil, fmt.Errorf("zstd: %w", err)
	}
	data, err := decoder.DecodeAll(packed, slices.Grow(dst, size))
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errCorrupt, err)
	}
	if len(data) != len(dst)+size {
		return nil, fmt.Errorf("%w: %d bytes, want %d", errCorrupt, len(data)-len(dst), size)
	}
	return data, nil
}
