package environment

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"os"
	"sync"
	"time"

	"github.com/gorunner/gorunner/execution/harness"
)

// output takes what a worker prints: every line goes to the log, and the last
// ones are kept. Standard output and standard error share one pipe, which
// keeps their lines in order.
type output struct {
	worker harness.WorkerID
	log    *slog.Logger
	read   *os.File
	// done is closed when the last line has been taken.
	done chan struct{}

	mu sync.Mutex
	// ring holds the last lines; the oldest is at next once it is full.
	// Guarded by mu.
	ring []string
	next int
}

// newOutput returns an output and the end of the pipe for the worker, which
// the caller closes once the worker has it. drain ends it.
func newOutput(worker harness.WorkerID, log *slog.Logger, o Options) (*output, *os.File, error) {
	read, write, err := os.Pipe()
	if err != nil {
		return nil, nil, err
	}
	out := &output{
		worker: worker,
		log:    log,
		read:   read,
		done:   make(chan struct{}),
		ring:   make([]string, 0, o.LogTail),
	}
	go out.run(o.LineBytes)
	return out, write, nil
}

func (o *output) run(lineBytes int) {
	defer close(o.done)
	r := bufio.NewReaderSize(o.read, lineBytes)
	for {
		line, err := r.ReadSlice('\n')
		// A line longer than the buffer comes in pieces.
		if len(line) > 0 {
			o.take(string(bytes.TrimRight(line, "\r\n")))
		}
		switch {
		case err == nil, errors.Is(err, bufio.ErrBufferFull):
		case errors.Is(err, io.EOF), errors.Is(err, os.ErrDeadlineExceeded):
			return
		default:
			o.log.Warn("cannot read the worker's output", "worker", o.worker, "error", err)
			return
		}
	}
}

func (o *output) take(line string) {
	o.log.Info("worker output", "worker", o.worker, "line", line)
	o.mu.Lock()
	defer o.mu.Unlock()
	if len(o.ring) < cap(o.ring) {
		o.ring = append(o.ring, line)
		return
	}
	o.ring[o.next] = line
	o.next = (o.next + 1) % len(o.ring)
}

// tail returns the last lines, oldest first.
func (o *output) tail() []string {
	o.mu.Lock()
	defer o.mu.Unlock()
	lines := make([]string, 0, len(o.ring))
	lines = append(lines, o.ring[o.next:]...)
	return append(lines, o.ring[:o.next]...)
}

// drain takes what is left after the worker has ended, and closes the pipe.
// wait is for a process that escaped and still holds the other end.
func (o *output) drain(ctx context.Context, wait time.Duration) {
	ctx, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	defer context.AfterFunc(ctx, func() { _ = o.read.SetReadDeadline(past()) })()
	<-o.done
	_ = o.read.Close() // only read from
}

// past is a deadline that ends a read at once.
func past() time.Time { return time.Unix(1, 0) }
