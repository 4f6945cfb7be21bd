//go:build linux

// Command soak runs real pipelines while their runner and their workers are
// killed, and compares what they write with what they write otherwise.
//
//	go run ./conformance/chaos/soak                       # 100 runs
//	go run ./conformance/chaos/soak -runs=10 -seed=4711   # ten, from that seed on
//	go run ./conformance/chaos/soak -filter=python-gbk -kills=10
//
// A run has a seed, which chooses the workload, and who is killed at which
// progress. What it leaves is kept if it has failed: in out/chaos, by seed.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"os/signal"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"github.com/gorunner/gorunner/conformance"
	"github.com/gorunner/gorunner/conformance/chaos"
)

// settings are what the command line says.
type settings struct {
	runs    int
	seed    uint64
	kills   int
	filter  *regexp.Regexp
	victims []chaos.Victim
	timeout time.Duration
	keep    bool
}

// tools are what runs.
type tools struct {
	root, gorunner, programs, boot, python, text string
	// out takes what runs leave.
	out string
}

func main() {
	var s settings
	flag.IntVar(&s.runs, "runs", 100, "number of runs")
	flag.Uint64Var(&s.seed, "seed", 1, "seed of the first run; others have those that follow")
	flag.IntVar(&s.kills, "kills", 6, "most kills of a run")
	filter := flag.String("filter", ".", "regular expression over the names of the workloads")
	victims := flag.String("victims", "runner,worker,runner+workers,runner twice", "who is killed")
	flag.DurationVar(&s.timeout, "timeout", 5*time.Minute, "limit of a single run")
	flag.BoolVar(&s.keep, "keep", false, "keep what runs leave that are good")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	var err1, err2 error
	s.filter, err1 = regexp.Compile(*filter)
	s.victims, err2 = chaos.ParseVictims(*victims)
	err := errors.Join(err1, err2)
	if err == nil {
		err = soak(ctx, &s)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "soak:", err)
		os.Exit(1)
	}
}

func soak(ctx context.Context, s *settings) error {
	t, err := build(ctx)
	if err != nil {
		return err
	}
	var all []workload
	for _, w := range workloads() {
		if s.filter.MatchString(w.name) && len(w.victims(s.victims)) > 0 {
			all = append(all, w)
		}
	}
	if len(all) == 0 {
		return fmt.Errorf("no workload %v in which one of %v can be killed", s.filter, s.victims)
	}
	sum := summary{kills: map[chaos.Victim]int{}}
	references := map[string]*outcome{}
	for seed := s.seed; seed < s.seed+uint64(s.runs) && ctx.Err() == nil; seed++ {
		// All workloads get their turn; which comes first the seed says.
		w := &all[seed%uint64(len(all))]
		if references[w.name] == nil {
			if references[w.name], err = t.reference(ctx, s, w); err != nil {
				return fmt.Errorf("%s without kills: %w", w.name, err)
			}
		}
		sum.add(t.kill(ctx, s, w, seed, references[w.name]))
	}
	fmt.Println(sum.String())
	if err := ctx.Err(); err != nil {
		return err
	}
	if len(sum.failed) > 0 {
		return fmt.Errorf("%d of %d runs failed: seeds %v", len(sum.failed), sum.runs, sum.failed)
	}
	return nil
}

// build builds what runs, and makes a text to count the words of.
func build(ctx context.Context) (*tools, error) {
	p, err := conformance.FindPaths(".")
	if err != nil {
		return nil, err
	}
	t := &tools{
		root: p.Root, gorunner: filepath.Join(p.Cache, "gorunner"), programs: filepath.Join(p.Cache, "chaos-pipelines"),
		boot: filepath.Join(p.Cache, "go-boot"), text: filepath.Join(p.Cache, "chaos.txt"), out: filepath.Join(p.Root, "out", "chaos"),
	}
	if t.python, err = p.Python(); err != nil {
		return nil, err
	}
	return t, errors.Join(
		p.GoBuild(ctx, ".", "build", "-o", t.gorunner, "./cmd/gorunner"),
		p.GoBuild(ctx, ".", "build", "-o", t.programs, "./conformance/chaos/pipelines"),
		p.GoBuild(ctx, "conformance/gosuite", "build", "-o", t.boot, "github.com/apache/beam/sdks/v2/go/container"),
		os.MkdirAll(t.out, 0o755),
		os.WriteFile(t.text, words(), 0o644))
}

// words are 40,000 lines of words, some of which are frequent.
func words() []byte {
	dice := rand.New(rand.NewPCG(1, 2))
	var text []byte
	for range 40_000 {
		for range 4 {
			text = fmt.Appendf(text, "w%x ", dice.IntN(1<<dice.IntN(14)))
		}
		text = append(text, '\n')
	}
	return text
}

// summary is what is said at the end.
type summary struct {
	runs   int
	failed []uint64
	kills  map[chaos.Victim]int
}

func (s *summary) add(r *report) {
	s.runs++
	verdict := "ok"
	if r.err != nil {
		s.failed = append(s.failed, r.seed)
		verdict = "FAILED"
	}
	for _, k := range r.kills {
		s.kills[k.Victim]++
	}
	fmt.Printf("%-6s seed %d %s %.1fs: %v\n", verdict, r.seed, r.workload, r.took.Seconds(), r.kills)
	if r.err != nil {
		fmt.Printf("       %s\n", strings.ReplaceAll(r.err.Error(), "\n", "\n       "))
	}
}

// String is a line.
func (s *summary) String() string {
	total := 0
	var by []string
	for _, v := range []chaos.Victim{chaos.TheRunner, chaos.AWorker, chaos.Everybody, chaos.Relapse} {
		total += s.kills[v]
		by = append(by, fmt.Sprintf("%v %d", v, s.kills[v]))
	}
	return fmt.Sprintf("%d of %d runs equal to the run without kills; %d kills: %s",
		s.runs-len(s.failed), s.runs, total, strings.Join(by, ", "))
}
