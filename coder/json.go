package coder

import (
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"math"
	"strconv"
	"unicode"
	"unicode/utf8"
)

// AppendJSON appends the value at the start of b as JSON, for people to read, and
// returns the number of bytes that the value takes.
//
//	bytes, text         "text", or {"hex":"00ff"} where that is no printable text
//	varint, double      a number; NaN and infinities are texts
//	bool                true or false
//	kv                  {"key":..., "value":...}
//	iterable            [...], with {"page":...} in place of what is read by a token
//	nullable            null or the value
//	sharded key         {"shard":..., "key":...}
//	windows             {"start_ms":..., "end_ms":...}, {"max_ms":..., "window":...}, "global"
//
// What only an SDK can decode stands in the runner's format as bytes.
func (c *Coder) AppendJSON(dst, b []byte) ([]byte, int, error) {
	n, err := c.Measure(b)
	if err != nil {
		return dst, 0, err
	}
	dst, n, err = c.appendJSON(dst, b[:n])
	return dst, n, err
}

func (c *Coder) appendJSON(dst, b []byte) (out []byte, n int, err error) {
	switch c.kind {
	case Bytes, LengthPrefix:
		return appendBytesJSON(dst, b)
	case VarInt:
		v, n, err := varint(b)
		return strconv.AppendInt(dst, int64(v), 10), n, err
	case Bool:
		if len(b) < 1 {
			return dst, 0, ErrShort
		}
		return strconv.AppendBool(dst, b[0] != 0), 1, nil
	case Double:
		if len(b) < 8 {
			return dst, 0, ErrShort
		}
		return appendDoubleJSON(dst, math.Float64frombits(binary.BigEndian.Uint64(b))), 8, nil
	case KV:
		return c.appendTwo(dst, b, `{"key":`, c.components[0].appendJSON, `,"value":`, c.components[1].appendJSON)
	case ShardedKey:
		return c.appendTwo(dst, b, `{"shard":`, appendBytesJSON, `,"key":`, c.components[0].appendJSON)
	case Iterable, StateBackedIterable:
		return c.appendIterable(dst, b)
	case Nullable:
		if len(b) < 1 {
			return dst, 0, ErrShort
		}
		if b[0] == 0 {
			return append(dst, "null"...), 1, nil
		}
		dst, n, err := c.components[0].appendJSON(dst, b[1:])
		return dst, n + 1, err
	case GlobalWindow:
		return append(dst, `"global"`...), 0, nil
	case IntervalWindow:
		end, err := Time(b)
		if err != nil {
			return dst, 0, err
		}
		length, n, err := varint(b[8:])
		return fmt.Appendf(dst, `{"start_ms":%d,"end_ms":%d}`, int64(end)-int64(length), int64(end)), 8 + n, err
	case CustomWindow:
		end, err := Time(b)
		if err != nil {
			return dst, 0, err
		}
		dst, n, err := appendBytesJSON(fmt.Appendf(dst, `{"max_ms":%d,"window":`, int64(end)), b[8:])
		return append(dst, '}'), 8 + n, err
	}
	return dst, 0, fmt.Errorf("coder: %v cannot be shown", c.kind)
}

type appendFunc func(dst, b []byte) ([]byte, int, error)

func (c *Coder) appendTwo(dst, b []byte, before string, first appendFunc, between string, second appendFunc) ([]byte, int, error) {
	dst, n, err := first(append(dst, before...), b)
	if err != nil {
		return dst, 0, err
	}
	dst, m, err := second(append(dst, between...), b[n:])
	return append(dst, '}'), n + m, err
}

func appendBytesJSON(dst, b []byte) ([]byte, int, error) {
	n, err := measureBytes(b)
	if err != nil {
		return dst, 0, err
	}
	_, head, err := varint(b)
	return AppendTextJSON(dst, b[head:n]), n, err
}

// AppendTextJSON appends bytes as a JSON text if they are printable, else as
// {"hex":"..."}.
func AppendTextJSON(dst, b []byte) []byte {
	for rest := b; len(rest) > 0; {
		r, size := utf8.DecodeRune(rest)
		if r == utf8.RuneError && size <= 1 || !unicode.IsPrint(r) && r != '\n' && r != '\t' && r != '\r' {
			dst = hex.AppendEncode(append(dst, `{"hex":"`...), b)
			return append(dst, `"}`...)
		}
		rest = rest[size:]
	}
	text, err := json.Marshal(string(b))
	if err != nil { // which texts never have
		return append(dst, `""`...)
	}
	return append(dst, text...)
}

func appendDoubleJSON(dst []byte, v float64) []byte {
	if math.IsNaN(v) || math.IsInf(v, 0) {
		return strconv.AppendQuote(dst, strconv.FormatFloat(v, 'g', -1, 64))
	}
	return strconv.AppendFloat(dst, v, 'g', -1, 64)
}

func (c *Coder) appendIterable(dst, b []byte) ([]byte, int, error) {
	if len(b) < 4 {
		return dst, 0, ErrShort
	}
	dst = append(dst, '[')
	count := int32(binary.BigEndian.Uint32(b))
	if count >= 0 {
		dst, n, err := c.appendElements(dst, b[4:], uint64(count))
		return append(dst, ']'), 4 + n, err
	}
	at := 4
	for {
		chunk, n, err := varint(b[at:])
		if err != nil {
			return dst, 0, err
		}
		at += n
		if chunk == 0 {
			return append(dst, ']'), at, nil
		}
		if dst[len(dst)-1] != '[' {
			dst = append(dst, ',')
		}
		if int64(chunk) < 0 {
			dst, n, err = appendBytesJSON(append(dst, `{"page":`...), b[at:])
			return append(dst, "}]"...), at + n, err
		}
		if dst, n, err = c.appendElements(dst, b[at:], chunk); err != nil {
			return dst, 0, err
		}
		at += n
	}
}

// shownMax bounds the elements without any byte that are shown.
const shownMax = 1000

func (c *Coder) appendElements(dst, b []byte, count uint64) ([]byte, int, error) {
	at := 0
	for i := uint64(0); i < count; i++ {
		if i > 0 {
			dst = append(dst, ',')
		}
		var n int
		var err error
		if dst, n, err = c.components[0].appendJSON(dst, b[at:]); err != nil {
			return dst, 0, err
		}
		if at += n; n == 0 && i >= shownMax {
			return dst, at, nil
		}
	}
	return dst, at, nil
}
