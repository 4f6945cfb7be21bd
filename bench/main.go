// Command bench measures gorunner side by side with Prism, Beam's own local
// runner, and with the ceiling: what the SDK harness can do at most.
//
//	go run ./bench                          # everything, three rounds
//	go run ./bench -filter=gbk -pairs=5     # the workloads with that in their names
//	go run ./bench -scale=0.01 -pairs=1     # a try-out
//	go run ./bench -scaling                 # how cost grows with the work
//
// A round runs a workload once on each contender, so that what slows down the
// machine slows down all of them; results are medians over the rounds. Each run
// gets a server of its own. The worker is the client (LOOPBACK), so that the CPU
// time of runner and worker is told apart. The tables go to standard output and
// to out/bench.md.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"regexp"
	"runtime"
	"time"
)

// settings are what the command line says.
type settings struct {
	pairs   int
	scale   float64
	filter  *regexp.Regexp
	replays int
	timeout time.Duration
	// peerTimeout is the same for Prism.
	peerTimeout time.Duration
	peers       bool
	ceiling     bool
	scaling     bool
	root        string
	cache       string
	python      string
	table       string
}

func main() {
	var s settings
	filter := flag.String("filter", ".", "regular expression over the names of the workloads")
	flag.IntVar(&s.pairs, "pairs", 3, "number of rounds")
	flag.Float64Var(&s.scale, "scale", 1, "factor for the size of every workload")
	flag.IntVar(&s.replays, "replays", 2, "replays of each kind on the ceiling, each round")
	flag.DurationVar(&s.timeout, "timeout", 15*time.Minute, "limit of a single run")
	flag.DurationVar(&s.peerTimeout, "peer-timeout", 100*time.Second, "limit of a single run of Prism")
	flag.BoolVar(&s.peers, "peers", true, "run the peers too")
	flag.BoolVar(&s.ceiling, "ceiling", true, "run the ceiling too")
	flag.BoolVar(&s.scaling, "scaling", false, "measure how cost grows with the work, instead")
	flag.StringVar(&s.root, "root", ".", "folder of the repository")
	flag.StringVar(&s.python, "python", ".venv/bin/python", "Python with Beam")
	flag.StringVar(&s.table, "table", "out/bench.md", "file for the table")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	var err error
	if s.filter, err = regexp.Compile(*filter); err == nil {
		err = bench(ctx, s)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func bench(ctx context.Context, s settings) error {
	root, err := filepath.Abs(s.root)
	if err != nil {
		return err
	}
	s.root = root
	s.cache = filepath.Join(root, ".cache", "bench")
	b, err := newBuild(ctx, s)
	if err != nil {
		return err
	}
	if s.scaling {
		return scaling(ctx, b, s)
	}
	rows, bars := tableHead, barHead
	found := false
	for _, w := range workloads(s.scale) {
		if !s.filter.MatchString(w.name) {
			continue
		}
		found = true
		m := &match{build: b, settings: s, workload: w}
		if err := m.run(ctx); err != nil {
			return fmt.Errorf("workload %s: %w", w.name, err)
		}
		rows += m.rows()
		bars += m.barRow()
		// Written each time, so that an interrupted measurement is not lost.
		if err := s.write(rows + "\n" + bars); err != nil {
			return err
		}
	}
	if !found {
		return fmt.Errorf("no workload matches %q", s.filter)
	}
	fmt.Println(rows + "\n" + bars)
	return nil
}

// write writes the file of the tables.
func (s *settings) write(tables string) error {
	text := fmt.Sprintf("Measured with %s on %d cores, %s, scale %g.\n\n%s",
		runtime.Version(), runtime.NumCPU(), plural(s.pairs, "round"), s.scale, tables)
	table := filepath.Join(s.root, s.table)
	if filepath.IsAbs(s.table) {
		table = s.table
	}
	if err := os.MkdirAll(filepath.Dir(table), 0o755); err != nil {
		return err
	}
	return os.WriteFile(table, []byte(text), 0o644)
}

func plural(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}
