package segment

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/cespare/xxhash/v2"
)

// The format of a segment, version 1; numbers are little-endian:
//
//	file header    "gorunseg", version (4 bytes), 0 (4), number of the segment
//	               (8), xxhash64 of these
//	regions        each a header and what is stored
//	region header  xxhash64 of all that follows (8), "GREG" (4), codec (1), 0 (3),
//	               size of the data (4), of what is stored (4), offset of the
//	               header in the file (8), number of the segment (8)
//
// A region of several parts is as many of these. They stand back to back, in the order in which their place was reserved.
// One whose writing has failed is a hole that nothing refers to. Its own place
// and number are in a region's header so that bytes which have gone astray are
// not taken for others.
const (
	version        = 1
	fileMagic      = "gorunseg"
	fileHeaderSize = 32
	regionMagic    = 0x47455247
	headerSize     = 40
	codecAt        = 12 // in a header
)

// codec says how a region is stored.
type codec byte

const (
	// plain is as it is.
	plain codec = iota
	// zstandard is one frame of zstd.
	zstandard
)

func (c codec) String() string {
	switch c {
	case plain:
		return "plain"
	case zstandard:
		return "zstd"
	}
	return fmt.Sprintf("codec %d", byte(c))
}

// errCorrupt reports bytes that are not what was written.
var errCorrupt = errors.New("not what was written")

// IsCorrupt says whether an error comes from bytes that are not what was written.
func IsCorrupt(err error) bool { return errors.Is(err, errCorrupt) }

func putFileHeader(b []byte, id uint64) []byte {
	b = append(b, fileMagic...)
	b = binary.LittleEndian.AppendUint32(b, version)
	b = binary.LittleEndian.AppendUint32(b, 0)
	b = binary.LittleEndian.AppendUint64(b, id)
	return binary.LittleEndian.AppendUint64(b, xxhash.Sum64(b))
}

// checkFileHeader fails when b is not the header of segment id.
func checkFileHeader(b []byte, id uint64) error {
	if len(b) < fileHeaderSize || string(b[:len(fileMagic)]) != fileMagic {
		return fmt.Errorf("header of the file: %w: no segment", errCorrupt)
	}
	if v := binary.LittleEndian.Uint32(b[8:]); v != version {
		return fmt.Errorf("header of the file: version %d, want %d", v, version)
	}
	if sum := binary.LittleEndian.Uint64(b[24:]); sum != xxhash.Sum64(b[:24]) {
		return fmt.Errorf("header of the file: %w: checksum", errCorrupt)
	}
	if got := binary.LittleEndian.Uint64(b[16:]); got != id {
		return fmt.Errorf("header of the file: %w: segment %d, want %d", errCorrupt, got, id)
	}
	return nil
}

// header is what stands before a region.
type header struct {
	codec codec
	// size is the number of bytes of the data, stored that of what follows the
	// header.
	size, stored uint32
	// offset is where the header begins in the segment.
	offset, segment uint64
}

// put writes the header before what is stored of a region, for which there is
// room.
func (h *header) put(region []byte) {
	binary.LittleEndian.PutUint32(region[8:], regionMagic)
	binary.LittleEndian.PutUint32(region[codecAt:], uint32(h.codec))
	binary.LittleEndian.PutUint32(region[16:], h.size)
	binary.LittleEndian.PutUint32(region[20:], h.stored)
	binary.LittleEndian.PutUint64(region[24:], h.offset)
	binary.LittleEndian.PutUint64(region[32:], h.segment)
	binary.LittleEndian.PutUint64(region, xxhash.Sum64(region[8:headerSize+int(h.stored)]))
}

// cutRegion reads a region with its header, and returns what is stored.
func cutRegion(b []byte) (header, []byte, error) {
	if len(b) < headerSize {
		return header{}, nil, fmt.Errorf("%w: %d bytes instead of a header", errCorrupt, len(b))
	}
	if magic := binary.LittleEndian.Uint32(b[8:]); magic != regionMagic {
		return header{}, nil, fmt.Errorf("%w: no region", errCorrupt)
	}
	h := header{
		size:   binary.LittleEndian.Uint32(b[16:]),
		stored: binary.LittleEndian.Uint32(b[20:]),
		offset: binary.LittleEndian.Uint64(b[24:]), segment: binary.LittleEndian.Uint64(b[32:]),
	}
	if uint64(len(b)) < headerSize+uint64(h.stored) {
		return header{}, nil, fmt.Errorf("%w: %d bytes of a region of %d", errCorrupt, len(b), headerSize+uint64(h.stored))
	}
	body := b[headerSize : headerSize+int(h.stored)]
	if sum := binary.LittleEndian.Uint64(b); sum != xxhash.Sum64(b[8:headerSize+len(body)]) {
		return header{}, nil, fmt.Errorf("%w: checksum", errCorrupt)
	}
	c := binary.LittleEndian.Uint32(b[codecAt:])
	switch {
	case c > uint32(zstandard):
		return header{}, nil, fmt.Errorf("%w: %v", errCorrupt, codec(c))
	case codec(c) == plain && h.size != h.stored:
		return header{}, nil, fmt.Errorf("%w: %d bytes stored as %d", errCorrupt, h.size, h.stored)
	}
	h.codec = codec(c)
	return h, body, nil
}
