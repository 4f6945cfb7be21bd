package metrics

import (
	"bytes"
	"fmt"
	"slices"
)

// histogram adds up the counts of buckets. Histograms with other buckets
// cannot be merged.
type histogram struct {
	count   int64
	options []byte // the encoded bucket options, as the SDK wrote them
	buckets []int64
}

// The fields of the proto HistogramValue.
const histogramCount, histogramOptions, histogramBuckets = 1, 2, 3

// histogramBucketsMax bounds the buckets of a histogram that is read.
const histogramBucketsMax = 1 << 20

func decodeHistogram(payload []byte) (cell, error) {
	h := &histogram{}
	err := fields(payload, func(f field) error {
		switch {
		case f.number == histogramCount && f.wire == wireVarint:
			h.count = int64(f.num)
		case f.number == histogramOptions && f.wire == wireBytes:
			h.options = slices.Clone(f.data)
		case f.number == histogramBuckets && f.wire == wireVarint:
			h.buckets = append(h.buckets, int64(f.num))
		case f.number == histogramBuckets && f.wire == wireBytes:
			r := &reader{b: f.data}
			for len(r.b) > 0 && r.err == nil {
				h.buckets = append(h.buckets, r.varint())
			}
			return r.err
		}
		if len(h.buckets) > histogramBucketsMax {
			return fmt.Errorf("%w: histogram of more than %d buckets", ErrMalformed, histogramBucketsMax)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return h, nil
}

func (h *histogram) merge(o cell) error {
	other, ok := o.(*histogram)
	if !ok {
		return wrongKind(h, o)
	}
	if !bytes.Equal(h.options, other.options) {
		return fmt.Errorf("%w: histograms with other buckets", ErrTypeChanged)
	}
	h.count += other.count
	for len(h.buckets) < len(other.buckets) {
		h.buckets = append(h.buckets, 0)
	}
	for i, n := range other.buckets {
		h.buckets[i] += n
	}
	return nil
}

func (h *histogram) encode() []byte {
	b := firstField(uint64(h.count))
	if len(h.options) > 0 {
		b = appendBytesField(b, histogramOptions, h.options)
	}
	if len(h.buckets) > 0 {
		var packed []byte
		for _, n := range h.buckets {
			packed = appendVarint(packed, n)
		}
		b = appendBytesField(b, histogramBuckets, packed)
	}
	return b
}
