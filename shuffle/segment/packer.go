package segment

import (
	"fmt"
	"sync"
	"sync/atomic"

	"github.com/klauspost/compress/zstd"
)

// packer compresses regions where that makes them small enough. What it tries
// first is a sample from the middle of a region; after a number of samples that
// were not worth it, only every so many regions are tried.
type packer struct {
	ratio float64
	// encoder and decoder are made when they are needed. Either works on a number
	// of regions at a time and lets others wait.
	encoder func() (*zstd.Encoder, error)
	decoder func() (*zstd.Decoder, error)
	// failed counts the samples since the last that was worth it, skipped the
	// regions that were not tried.
	failed, skipped atomic.Uint32
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

// pack appends data to dst, compressed if that is worth it.
func (p *packer) pack(dst, data []byte) ([]byte, codec) {
	if packed, ok := p.compress(dst, data); ok {
		return packed, zstandard
	}
	return append(dst, data...), plain
}

func (p *packer) compress(dst, data []byte) (packed []byte, ok bool) {
	if p.ratio < 0 || len(data) < packedMin || !p.tries() {
		return nil, false
	}
	encoder, err := p.encoder()
	if err != nil {
		return nil, false // plain will do
	}
	if len(data) > 2*sampleBytes {
		sample := data[(len(data)-sampleBytes)/2:][:sampleBytes]
		if !p.pays(len(encoder.EncodeAll(sample, dst))-len(dst), len(sample)) {
			return nil, false
		}
	}
	packed = encoder.EncodeAll(data, dst)
	return packed, p.pays(len(packed)-len(dst), len(data))
}

// tries says whether a region is worth a try, after what became of the last
// ones.
func (p *packer) tries() bool {
	return p.failed.Load() < patience || p.skipped.Add(1)%resampled == 0
}

func (p *packer) pays(packed, size int) bool {
	if float64(packed) > p.ratio*float64(size) {
		p.failed.Add(1)
		return false
	}
	p.failed.Store(0)
	return true
}

// unpack returns the size bytes that were compressed.
func (p *packer) unpack(packed []byte, size int) ([]byte, error) {
	decoder, err := p.decoder()
	if err != nil {
		return nil, fmt.Errorf("zstd: %w", err)
	}
	data, err := decoder.DecodeAll(packed, make([]byte, 0, size))
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errCorrupt, err)
	}
	if len(data) != size {
		return nil, fmt.Errorf("%w: %d bytes, want %d", errCorrupt, len(data), size)
	}
	return data, nil
}
