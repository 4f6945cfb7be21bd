package runner

import (
	"strings"
	"sync"
)

// toUTF8 replaces what gRPC would refuse to send as a string.
func toUTF8(s string) string { return strings.ToValidUTF8(s, "\uFFFD") }

// statusBytesMax bounds the text of a gRPC status. It travels in a header, and
// Java's and Python's clients refuse headers of more than 8 KiB: their users
// would read about that instead.
const statusBytesMax = 6 << 10

// statusText cuts a text to what can be sent with a status, at the end of a line
// if it has several.
func statusText(s string) string {
	bytes, line := 0, 0
	for i, c := range []byte(s) {
		// In the header, all but printable ASCII takes three bytes.
		if c < ' ' || c > '~' || c == '%' {
			bytes += 2
		}
		if c == '\n' {
			line = i
		}
		if bytes++; bytes > statusBytesMax {
			if line == 0 {
				line = i
			}
			return toUTF8(s[:line]) + "\n  … (cut; the server's log has all of it)"
		}
	}
	return s
}

// slug makes a short name of letters, digits and dashes, fit for file names.
func slug(s string) string {
	const most = 40
	var b strings.Builder
	dash := true // no dash at the start
	for _, r := range strings.ToLower(s) {
		if b.Len() >= most {
			break
		}
		switch {
		case r >= 'a' && r <= 'z', r >= '0' && r <= '9':
			b.WriteRune(r)
			dash = false
		case !dash:
			b.WriteByte('-')
			dash = true
		}
	}
	out := strings.TrimSuffix(b.String(), "-")
	if out == "" {
		return "job"
	}
	return out
}

// workerTailLines is how many of a worker's log entries are kept for errors.
const workerTailLines = 20

// tail keeps the last lines it is given; safe for concurrent use.
type tail struct {
	mu   sync.Mutex
	most int
	ring []string // guarded by mu
}

func newTail(most int) *tail { return &tail{most: most} }

func (t *tail) add(line string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.ring) == t.most {
		copy(t.ring, t.ring[1:])
		t.ring = t.ring[:t.most-1]
	}
	t.ring = append(t.ring, line)
}

func (t *tail) lines() []string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return append([]string(nil), t.ring...)
}
