// Command bench measures gorunner side by side with Prism, Beam's own local
// runner: the same pipelines, in the same run, turn by turn.
//
//	go run ./bench                          # everything, three rounds
//	go run ./bench -filter=gbk -pairs=5     # one workload, five rounds
//	go run ./bench -scale=0.01 -pairs=1     # a try-out
//
// A round runs a workload once on each contender, so that what slows down the
// machine slows down all of them; the result is the median over the rounds.
// Each run gets a server of its own. The worker is the client (LOOPBACK), so
// that the CPU time of runner and worker is told apart. The table goes to
// standard output and to out/bench.md.
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
	"strings"
	"time"
)

// settings are what the command line says.
type settings struct {
	pairs   int
	scale   float64
	filter  *regexp.Regexp
	timeout time.Duration
	peers   bool
	root    string
	python  string
	table   string
}

func main() {
	var s settings
	filter := flag.String("filter", ".", "regular expression over the names of the workloads")
	flag.IntVar(&s.pairs, "pairs", 3, "number of rounds")
	flag.Float64Var(&s.scale, "scale", 1, "factor for the size of every workload")
	flag.DurationVar(&s.timeout, "timeout", 15*time.Minute, "limit of a single run")
	flag.BoolVar(&s.peers, "peers", true, "run the peer too")
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
	b, err := newBuild(ctx, s)
	if err != nil {
		return err
	}
	var tables []string
	for _, w := range workloads(s.scale) {
		if !s.filter.MatchString(w.name) {
			continue
		}
		m := &match{build: b, settings: s, workload: w}
		if err := m.run(ctx); err != nil {
			return fmt.Errorf("workload %s: %w", w.name, err)
		}
		tables = append(tables, m.table())
		fmt.Println(tables[len(tables)-1])
	}
	if tables == nil {
		return fmt.Errorf("no workload matches %q", s.filter)
	}
	text := fmt.Sprintf("# Measured with %s on %d cores, %d rounds, scale %g\n\n%s\n",
		runtime.Version(), runtime.NumCPU(), s.pairs, s.scale, strings.Join(tables, "\n"))
	table := filepath.Join(root, s.table)
	if filepath.IsAbs(s.table) {
		table = s.table
	}
	if err := os.MkdirAll(filepath.Dir(table), 0o755); err != nil {
		return err
	}
	return os.WriteFile(table, []byte(text), 0o644)
}
