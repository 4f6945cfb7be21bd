package coder

import (
	"encoding/binary"
	"fmt"

	"github.com/gorunner/gorunner/element"
)

// The pane's byte holds, from its lowest bit: whether the pane is the first
// and the last of its window, two bits of timing, three of the format, and
// whether metadata follow. The format says which indices follow as varints:
// none if both are 0 (or mean nothing, of an unknown timing), one if the other
// follows from it, or both.
const (
	paneFirst       = 0x01
	paneLast        = 0x02
	paneTimingShift = 2
	paneTimingMask  = 0x03
)

// PutPane appends the encoding of a pane.
func PutPane(b []byte, p element.Pane) []byte {
	first := byte(p.Timing&paneTimingMask) << paneTimingShift
	if p.First {
		first |= paneFirst
	}
	if p.Last {
		first |= paneLast
	}
	if p.Metadata != nil {
		first |= paneMetadata
	}
	switch {
	case p.Timing == element.Unknown || p.Index == 0 && p.NonSpeculative == 0:
		b = append(b, first)
	case p.Timing == element.Early || p.Index == p.NonSpeculative:
		b = binary.AppendUvarint(append(b, first|paneOneIndex), uint64(p.Index))
	default:
		b = binary.AppendUvarint(append(b, first|paneTwoIndices), uint64(p.Index))
		b = binary.AppendUvarint(b, uint64(p.NonSpeculative))
	}
	return append(b, p.Metadata...)
}

// CutPane reads the pane at the start of b, and returns its length. The
// metadata alias b.
func CutPane(b []byte) (element.Pane, int, error) {
	n, err := measurePane(b)
	if err != nil {
		return element.Pane{}, 0, fmt.Errorf("pane: %w", err)
	}
	p := element.Pane{
		First:  b[0]&paneFirst != 0,
		Last:   b[0]&paneLast != 0,
		Timing: element.Timing(b[0] >> paneTimingShift & paneTimingMask),
	}
	at := 1
	switch b[0] & paneFormatBits {
	case paneOneIndex:
		at += cutIndex(b[at:], &p.Index)
		p.NonSpeculative = p.Index
		if p.Timing == element.Early {
			p.NonSpeculative = -1
		}
	case paneTwoIndices:
		at += cutIndex(b[at:], &p.Index)
		at += cutIndex(b[at:], &p.NonSpeculative)
	}
	if b[0]&paneMetadata != 0 {
		p.Metadata = b[at:n]
	}
	return p, n, nil
}

// cutIndex reads a varint that has been measured.
func cutIndex(b []byte, index *int64) int {
	v, n := binary.Uvarint(b)
	*index = int64(v)
	return n
}
