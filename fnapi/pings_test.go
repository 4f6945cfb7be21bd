package fnapi

import (
	"bytes"
	"net"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"
)

// recorder is a connection that keeps what is written to it.
type recorder struct {
	net.Conn
	written []byte
}

func (r *recorder) Write(p []byte) (int, error) {
	r.written = append(r.written, p...)
	return len(p), nil
}

func pingAck(n byte) []byte { return append([]byte(pingAckHeader), 0, 0, 0, 0, 0, 0, 0, n) }

func dataFrame(payload []byte) []byte {
	return append([]byte{0, byte(len(payload) >> 8), byte(len(payload)), 0, 0, 0, 0, 0, 1}, payload...)
}

// TestPingAcksWait shows that an acknowledgement that stands alone waits, what
// comes meanwhile does not, and nothing is written into a frame.
func TestPingAcksWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := &recorder{}
		c := &patientConn{Conn: r}
		write := func(p []byte) {
			t.Helper()
			if n, err := c.Write(p); n != len(p) || err != nil {
				t.Fatalf("wrote %d of %d, %v", n, len(p), err)
			}
		}
		want := func(parts ...[]byte) {
			t.Helper()
			synctest.Wait()
			c.mu.Lock()
			defer c.mu.Unlock()
			if all := bytes.Join(parts, nil); !bytes.Equal(r.written, all) {
				t.Fatalf("written %x, want %x", r.written, all)
			}
		}
		// A payload that looks like an acknowledgement is none.
		one, two := dataFrame([]byte("one")), dataFrame(pingAck(9))
		write(pingAck(1))
		want()
		write(one)
		want(one)
		time.Sleep(pingAckWait)
		want(one, pingAck(1))
		write(pingAck(2))
		write(two[:9])
		time.Sleep(pingAckWait)
		want(one, pingAck(1), two[:9])
		write(two[9:])
		want(one, pingAck(1), two, pingAck(2))
		time.Sleep(time.Second)
		both := append(pingAck(3), one...)
		write(both)
		want(one, pingAck(1), two, pingAck(2), both)
	})
}

// TestPingAcksKeepFrames shows that frames written in any pieces come whole and
// in order, with all acknowledgements among them.
func TestPingAcksKeepFrames(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r := &recorder{}
		c := &patientConn{Conn: r}
		var frames, acks [][]byte
		for i := range rapid.IntRange(1, 20).Draw(t, "frames") {
			frame := dataFrame(rapid.SliceOfN(rapid.Byte(), 0, 30).Draw(t, "payload"))
			if rapid.Bool().Draw(t, "ack") {
				frame = pingAck(byte(i))
				acks = append(acks, frame)
			} else {
				frames = append(frames, frame)
			}
			for len(frame) > 0 {
				n := rapid.IntRange(1, len(frame)).Draw(t, "piece")
				if _, err := c.Write(frame[:n]); err != nil {
					t.Fatal(err)
				}
				frame = frame[n:]
			}
			if rapid.Bool().Draw(t, "pause") {
				c.release()
			}
		}
		c.release()
		c.mu.Lock() // timers come later
		defer c.mu.Unlock()
		var gotFrames, gotAcks [][]byte
		for b := r.written; len(b) > 0; {
			n := frameHeaderSize + int(b[1])<<8 + int(b[2])
			if isPingAck(b[:n]) {
				gotAcks = append(gotAcks, b[:n])
			} else {
				gotFrames = append(gotFrames, b[:n])
			}
			b = b[n:]
		}
		slices.SortFunc(gotAcks, bytes.Compare) // their order is of no account
		if !bytes.Equal(bytes.Join(frames, nil), bytes.Join(gotFrames, nil)) || !bytes.Equal(bytes.Join(acks, nil), bytes.Join(gotAcks, nil)) {
			t.Fatalf("frames %x and acks %x, want %x and %x", gotFrames, gotAcks, frames, acks)
		}
	})
}
