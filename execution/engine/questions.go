package engine

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/gorunner/gorunner/coder"
	"github.com/gorunner/gorunner/element"
	"github.com/gorunner/gorunner/shuffle"
)

// The runner asks functions of the SDK in elements KV<nonce, question>, and has
// them answered in elements KV<nonce, answer>. The nonce is the number of the
// question.

// questionBlockBytes is what blocks of questions are filled up to.
const questionBlockBytes = 1 << 20

// The ways in which an answer is none.
var (
	errNonce      = errors.New("an answer to no question, or a second one")
	errUnanswered = errors.New("no answer")
)

// questions encodes n questions, of which put appends number i.
func questions(n int, put func(b []byte, i int) []byte) []element.Block {
	var blocks []element.Block
	b := element.Block{MinTime: element.MinTime}
	for i := range n {
		if len(b.Data) >= questionBlockBytes {
			blocks = append(blocks, b)
			b = element.Block{MinTime: element.MinTime}
		}
		b.Data = coder.PutHeader(b.Data, element.Header{
			Timestamp: element.MinTime, NumWindows: 1, Pane: []byte{coder.PaneOnlyFiring},
		})
		nonce := binary.AppendUvarint(nil, uint64(i))
		b.Data = binary.AppendUvarint(b.Data, uint64(len(nonce)))
		b.Data = append(b.Data, nonce...)
		b.Data = put(b.Data, i)
		b.Count++
	}
	return append(blocks, b)
}

// answers decodes the answers to n questions, one for each.
func answers(layout *shuffle.Layout, n int, blocks []element.Block, take func(i int, answer []byte) error) error {
	answered := make([]bool, n)
	for i := range blocks {
		for data := blocks[i].Data; len(data) > 0; {
			e, err := layout.Cut(data)
			if err != nil {
				return err
			}
			data = data[e.Size:]
			i, err := nonce(e.Key())
			if err != nil || i >= uint64(n) || answered[i] {
				return fmt.Errorf("%w: %x", errNonce, e.Key())
			}
			answered[i] = true
			if err := take(int(i), e.Value[e.KeySize:]); err != nil {
				return err
			}
		}
	}
	for i := range answered {
		if !answered[i] {
			return fmt.Errorf("%w to question %d of %d", errUnanswered, i, n)
		}
	}
	return nil
}

// nonce reads the number of a question, which stands in length-prefixed bytes.
func nonce(b []byte) (uint64, error) {
	_, n := binary.Uvarint(b)
	if n <= 0 {
		return 0, errNonce
	}
	v, m := binary.Uvarint(b[n:])
	if m <= 0 || n+m != len(b) {
		return 0, errNonce
	}
	return v, nil
}
