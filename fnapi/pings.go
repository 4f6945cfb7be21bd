package fnapi

import (
	"net"
	"sync"
	"time"

	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
)

// gRPC's clients measure what a connection can carry: after each message that
// they receive they send a ping, unless one is under way. Where messages go to
// and fro, as with small bundles, every second packet is then a ping or its
// acknowledgement, and each wakes a thread. An acknowledgement that stands alone
// is therefore held back for a moment, in which the client sends no further ping;
// in its measurement more bytes go with more time. Clients that ping to see
// whether the server is alive wait for seconds at least.
const pingAckWait = 20 * time.Millisecond

// patientCreds are credentials of connections that hold acknowledgements back.
type patientCreds struct {
	credentials.TransportCredentials
}

func newPatientCreds() credentials.TransportCredentials {
	return patientCreds{insecure.NewCredentials()}
}

// Clone implements credentials.TransportCredentials.
func (c patientCreds) Clone() credentials.TransportCredentials {
	return patientCreds{c.TransportCredentials.Clone()}
}

// ServerHandshake implements credentials.TransportCredentials.
func (c patientCreds) ServerHandshake(conn net.Conn) (net.Conn, credentials.AuthInfo, error) {
	conn, info, err := c.TransportCredentials.ServerHandshake(conn)
	if err != nil {
		return nil, nil, err
	}
	return &patientConn{Conn: conn}, info, nil
}

// patientConn is the server's end of an HTTP/2 connection.
type patientConn struct {
	net.Conn

	mu sync.Mutex
	// held are acknowledgements, and due says that they have waited long enough;
	// guarded by mu.
	held []byte
	due  bool
	// head is the begun header of a frame, and left what is missing of its
	// payload; guarded by mu.
	head []byte
	left int
}

// frameHeaderSize is that of HTTP/2.
const frameHeaderSize = 9

// pingAckHeader begins an acknowledgement: 8 bytes, type 6, flag 1, stream 0.
const pingAckHeader = "\x00\x00\x08\x06\x01\x00\x00\x00\x00"

// isPingAck says whether p is an acknowledgement and nothing else.
func isPingAck(p []byte) bool {
	return len(p) == len(pingAckHeader)+8 && string(p[:len(pingAckHeader)]) == pingAckHeader
}

// Write implements net.Conn.
func (c *patientConn) Write(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.between() && isPingAck(p) {
		if len(c.held) == 0 {
			time.AfterFunc(pingAckWait, c.release)
		}
		c.held = append(c.held, p...)
		return len(p), nil
	}
	n, err := c.Conn.Write(p)
	c.follow(p[:n])
	if err == nil && c.due && c.between() {
		err = c.writeHeld()
	}
	return n, err
}

// between says that the last frame is whole. mu is held.
func (c *patientConn) between() bool { return c.left == 0 && len(c.head) == 0 }

// follow notes which frames p ends and begins. mu is held.
func (c *patientConn) follow(p []byte) {
	for len(p) > 0 {
		if c.left > 0 {
			n := min(c.left, len(p))
			c.left -= n
			p = p[n:]
			continue
		}
		n := min(frameHeaderSize-len(c.head), len(p))
		c.head = append(c.head, p[:n]...)
		p = p[n:]
		if len(c.head) == frameHeaderSize {
			c.left = int(c.head[0])<<16 | int(c.head[1])<<8 | int(c.head[2])
			c.head = c.head[:0]
		}
	}
}

// release writes what was held back, or has it written after the frame that has
// been begun. When the connection is broken, whoever reads it is told.
func (c *patientConn) release() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.due = len(c.held) > 0
	if c.due && c.between() {
		_ = c.writeHeld()
	}
}

// writeHeld writes what was held back. mu is held.
func (c *patientConn) writeHeld() error {
	_, err := c.Conn.Write(c.held)
	c.held, c.due = c.held[:0], false
	return err
}
