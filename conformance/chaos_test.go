package conformance

import (
	"context"
	"errors"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/gorunner/gorunner/conformance/chaos"
	"github.com/gorunner/gorunner/conformance/chaos/jobproxy"
)

// TestSuitesUnderChaos runs suites as the other tests do, while the runner and its
// workers are killed: all is to end as it does otherwise.
func TestSuitesUnderChaos(t *testing.T) {
	need(t, underChaos)
	for _, suite := range AllSuites() {
		for _, mode := range suite.Modes {
			name := suite.Name + "." + mode.Name
			switch name {
			case "go-primitives.loopback", "go-primitives.process":
				t.Run(name, func(t *testing.T) { runGoSuite(t, suite, mode, startChaos) })
			case "python-fnapirunner.batch", "python-fnapirunner.streaming", "python-fnapirunner.process":
				t.Run(name, func(t *testing.T) { runPythonSuite(t, suite, mode, startChaos) })
			}
		}
	}
}

// The least and the most time between two deaths, and how long jobs may take to be
// submitted before one.
const (
	chaosLeast  = 300 * time.Millisecond
	chaosMost   = 3 * time.Second
	submitLimit = 20 * time.Second
)

// startChaos starts a server that is killed now and then, behind a proxy.
func startChaos(t *testing.T, args ...string) *server {
	t.Helper()
	dir := outFile(t, "chaos")
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	r, err := chaos.Start(t.Context(), chaos.Spec{Binary: must(t, gorunner), Args: args, Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p, err := jobproxy.New(jobproxy.Options{Runner: r.Address, Address: l.Addr().String()})
	if err != nil {
		t.Fatal(err)
	}
	go func() { _ = p.Serve(l) }()
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	seed, err := strconv.ParseUint(os.Getenv("GORUNNER_CONFORMANCE_SEED"), 10, 64)
	if err != nil {
		seed = uint64(time.Now().UnixNano())
	}
	killed := map[chaos.Victim]int{}
	go func() { ended <- terrorise(ctx, rand.New(rand.NewPCG(seed, 0)), killed, r, p) }()
	t.Cleanup(func() {
		stop()
		err := errors.Join(<-ended, r.Stop(), p.Stop())
		t.Logf("GORUNNER_CONFORMANCE_SEED=%d killed %v", seed, killed)
		if err != nil {
			t.Error(err)
			return
		}
		if err := os.RemoveAll(filepath.Join(dir, "data")); err != nil {
			t.Error(err)
		}
	})
	return &server{endpoint: l.Addr().String(), http: r.HTTP}
}

// terrorise kills until ctx ends, and counts whom.
func terrorise(ctx context.Context, dice *rand.Rand, killed map[chaos.Victim]int, r *chaos.Runner, p *jobproxy.Proxy) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(chaosLeast + time.Duration(dice.Int64N(int64(chaosMost-chaosLeast)))):
		}
		victim := []chaos.Victim{chaos.TheRunner, chaos.AWorker, chaos.Everybody}[dice.IntN(3)]
		happened, err := assail(ctx, dice, victim, r, p)
		switch {
		case ctx.Err() != nil:
			return nil //nolint:nilerr // that is why
		case err != nil:
			return err
		}
		if happened {
			killed[victim]++
		}
	}
}

// assail kills once, if there is somebody to be killed.
func assail(ctx context.Context, dice *rand.Rand, victim chaos.Victim, r *chaos.Runner, p *jobproxy.Proxy) (happened bool, err error) {
	if err := r.Alive(); err != nil {
		return false, err
	}
	workers := chaos.Descendants(r.PID())
	if victim == chaos.AWorker {
		if len(workers) == 0 {
			return false, nil
		}
		return true, chaos.KillProcess(workers[dice.IntN(len(workers))])
	}
	holding, cancel := context.WithTimeout(ctx, submitLimit)
	defer cancel()
	defer p.Hold(holding)()
	err = r.Kill()
	if victim == chaos.Everybody {
		for _, pid := range workers {
			err = errors.Join(err, chaos.KillProcess(pid))
		}
	}
	return true, errors.Join(err, r.Restart(ctx))
}
