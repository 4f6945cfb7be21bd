package main

import (
	"fmt"
	"strconv"

	"github.com/gorunner/gorunner/internal/subprocess"
)

// contender is a runner in one of its settings.
type contender struct {
	name string
	// bin is the server; empty if the runner is part of the client, or started
	// by it.
	bin  string
	args func(addr, http string) ([]string, error)
	env  []string
	// client are the client's arguments; %s stands for the server's address.
	client []string
	// jobs is how many clients run at the same time.
	jobs int
	// slow is how many seconds a run may take for there to be another one.
	slow float64
	// executes says that the server tells how long it has executed bundles.
	executes bool
}

// The contenders that others are compared with.
const (
	ours    = "gorunner"
	ceiling = "ceiling"
	prism   = "Prism"
	prism8  = "Prism, GOMAXPROCS=8"
)

// A run of a peer, or of our own, that takes longer is not repeated.
const (
	slowPeer = 20
	slowOurs = 60
)

func (m *match) contenders() []contender {
	all := m.peers()
	us := m.us(ours)
	all = append(all, us)
	if m.workload.twice {
		two := m.us("gorunner, 2 jobs at once")
		two.jobs = 2
		all = append(all, two)
	}
	if m.workload.script != "" && !m.workload.dropIn {
		two := m.us("gorunner, 2 workers")
		two.client = append(two.client, "--gorunner_worker_processes=2")
		all = append(all, two)
	}
	if m.workload.args != nil && !m.workload.bounded && m.settings.ceiling {
		all = append(all, contender{
			name: ceiling, bin: m.build.ceiling, slow: 3 * slowOurs, args: func(string, string) ([]string, error) {
				return []string{"-replays=" + strconv.Itoa(m.settings.replays), "-in-flight=" + strconv.Itoa(m.workload.inFlight), "--"}, nil
			},
		})
	}
	return all
}

// us is our server in its default settings.
func (m *match) us(name string) contender {
	us := contender{
		name: name, bin: m.build.gorunner, jobs: 1, slow: slowOurs, executes: true,
		args: func(addr, http string) ([]string, error) {
			args := []string{"serve", "--listen=" + addr, "--http=" + http, "--log-level=warn"}
			if m.workload.memory != "" {
				args = append(args, "--memory="+m.workload.memory)
			}
			return args, nil
		},
	}
	return m.asClient(us, m.build.gorunner)
}

// asClient says how the client reaches the contender.
func (m *match) asClient(c contender, bin string) contender {
	switch {
	case m.workload.dropIn:
		c.bin, c.executes = "", false
		c.client = []string{"--runner=PrismRunner", "--prism_location=" + bin}
	case m.workload.script != "":
		c.client = []string{"--runner=PrismRunner", "--job_endpoint=%s"}
	default:
		c.client = []string{"--endpoint=%s"}
	}
	return c
}

// peers are the runners to compare with.
func (m *match) peers() []contender {
	if m.workload.alone != "" || !m.settings.peers {
		return nil
	}
	server := func(name string, env ...string) contender {
		return m.asClient(contender{
			name: name, bin: m.build.prism, jobs: 1, slow: slowPeer, env: env,
			args: func(addr, _ string) ([]string, error) {
				port, err := subprocess.Port(addr)
				return []string{fmt.Sprintf("--job_port=%d", port), "--serve_http=false", "--log_level=error"}, err
			},
		}, m.build.prism)
	}
	all := []contender{server(prism)}
	if m.workload.script == "" {
		// The setting in which it is at its best.
		return append(all, server(prism8, "GOMAXPROCS=8"))
	}
	return append(all, contender{name: "FnApiRunner, in process", jobs: 1, slow: slowPeer, client: []string{"--runner=FnApiRunner"}})
}
