// Package jobproxy stands between clients of a Job API and a runner that may die
// and come back: clients stay connected, and wait.
//
// Calls pass as they are, whatever the service: messages are bytes here. What the
// proxy knows of them is only what it needs:
//
//   - Prepare's answer says where to stage artifacts. That must be the proxy.
//   - Between Prepare and the answer to Run a job is not the runner's to keep. Who
//     wants to kill the runner asks for [Proxy.Hold], which waits for the jobs that
//     are between the two and lets no other begin. So once Run has answered, the job
//     must outlive whatever happens, and nothing is ever submitted twice.
//   - Calls that only ask are repeated until the runner is back.
//   - The streams of states and messages are opened again, from their beginning, and
//     what the client has had already is left out. They end when the job has.
//
// A call waits for a runner no longer than [Options.Patience].
package jobproxy

import (
	"context"
	"fmt"
	"net"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/credentials/insecure"
)

// DefaultPatience is how long a call waits for a runner that is away.
const DefaultPatience = time.Minute

// messageMax bounds a message, which pipelines with data in them need.
const messageMax = 1 << 30

// Options say between whom the proxy stands.
type Options struct {
	// Runner is the address of the runner, the same in all its lives.
	Runner string
	// Address is what clients are told.
	Address string
	// Patience is how long a call waits for a runner that is away; 0 is the default.
	Patience time.Duration
}

// Proxy is safe for concurrent use.
type Proxy struct {
	opts   Options
	server *grpc.Server
	runner *grpc.ClientConn

	mu sync.Mutex
	// submitting are the jobs between Prepare and Run, by preparation, and preparing
	// the calls of Prepare; guarded by mu.
	submitting map[string]bool
	preparing  int
	// held is how many want no job to be submitted; guarded by mu.
	held int
	// changed is closed, and made anew, when any of these is different; guarded by mu.
	changed chan struct{}
}

// New makes a proxy. It connects to the runner when it needs it.
func New(opts Options) (*Proxy, error) {
	if opts.Patience == 0 {
		opts.Patience = DefaultPatience
	}
	p := &Proxy{opts: opts, submitting: make(map[string]bool), changed: make(chan struct{})}
	again := backoff.Config{BaseDelay: 20 * time.Millisecond, Multiplier: 1.5, Jitter: 0.2, MaxDelay: 200 * time.Millisecond}
	var err error
	p.runner, err = grpc.NewClient("passthrough:///"+opts.Runner,
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithConnectParams(grpc.ConnectParams{Backoff: again, MinConnectTimeout: time.Second}),
		grpc.WithDefaultCallOptions(grpc.ForceCodecV2(bytesCodec{}), grpc.WaitForReady(true),
			grpc.MaxCallRecvMsgSize(messageMax), grpc.MaxCallSendMsgSize(messageMax)),
	)
	if err != nil {
		return nil, fmt.Errorf("proxy of %s: %w", opts.Runner, err)
	}
	p.server = grpc.NewServer(grpc.ForceServerCodecV2(bytesCodec{}), grpc.UnknownServiceHandler(p.handle),
		grpc.MaxRecvMsgSize(messageMax), grpc.MaxSendMsgSize(messageMax))
	return p, nil
}

// Serve serves clients until Stop.
func (p *Proxy) Serve(l net.Listener) error { return p.server.Serve(l) }

// Stop ends all calls.
func (p *Proxy) Stop() error {
	p.server.Stop()
	return p.runner.Close()
}

// Hold returns when no job is being submitted, and lets none be until release is
// called. When ctx ends before, the jobs that are still between Prepare and Run
// count as given up by their clients.
func (p *Proxy) Hold(ctx context.Context) (release func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.held++
	for p.preparing > 0 || len(p.submitting) > 0 {
		if !p.wait(ctx) {
			clear(p.submitting)
			break
		}
	}
	return sync.OnceFunc(func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.held--
		p.change()
	})
}

// wait waits for a change, with mu free meanwhile. It returns whether there was one
// before ctx ended.
func (p *Proxy) wait(ctx context.Context) bool {
	changed := p.changed
	p.mu.Unlock()
	defer p.mu.Lock()
	select {
	case <-changed:
		return true
	case <-ctx.Done():
		return false
	}
}

// change wakes whoever waits. mu is held.
func (p *Proxy) change() {
	close(p.changed)
	p.changed = make(chan struct{})
}

// beginPrepare waits while somebody holds the proxy.
func (p *Proxy) beginPrepare(ctx context.Context) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	for p.held > 0 {
		if !p.wait(ctx) {
			return ctx.Err()
		}
	}
	p.preparing++
	return nil
}

// endPrepare notes a preparation, unless there was none.
func (p *Proxy) endPrepare(preparation string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.preparing--
	if preparation != "" {
		p.submitting[preparation] = true
	}
	p.change()
}

// submitted notes that Run has answered.
func (p *Proxy) submitted(preparation string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.submitting, preparation)
	p.change()
}
