package conformance

import (
	"fmt"
	"os"
	"regexp"
	"strconv"
	"testing"
	"time"

	"github.com/gorunner/gorunner/internal/subprocess"
)

// The margins of TestNoLeaks: what may be left after many jobs of what was not
// there after the first few. One goroutine or file a job would be far above it.
const (
	goroutineMargin = 10
	fileMargin      = 5
	rssMargin       = 64 << 20
	// remembered is the number of finished jobs that a server keeps at most, so
	// that their clients can still ask about them.
	remembered = 1000
	// settleTimeout is how long the server may take to let go of the last job.
	settleTimeout = 30 * time.Second
)

// TestNoLeaks runs tiny jobs one after another against one server: goroutines,
// open files and memory must not grow. GORUNNER_LEAK_JOBS sets how many jobs
// (default 100 in the smoke scope, otherwise 1000).
func TestNoLeaks(t *testing.T) {
	need(t, smoke, goSDK)
	jobs := 1000
	if scope := os.Getenv("GORUNNER_CONFORMANCE"); scope == "" || scope == string(smoke) {
		jobs = 100
	}
	if text := os.Getenv("GORUNNER_LEAK_JOBS"); text != "" {
		n, err := strconv.Atoi(text)
		if err != nil || n < 1 {
			t.Fatalf("GORUNNER_LEAK_JOBS=%q is not a number of jobs", text)
		}
		jobs = n
	}
	s := startServer(t)
	if s.process == nil {
		t.Skip("the server is not ours")
	}
	// The first jobs fill what is filled once: pools, caches. For as many jobs as
	// the server remembers once they have ended, that history must be full too.
	warmUp := 25
	if jobs >= remembered {
		warmUp = remembered
	}
	wantAll(t, warmUp, runGo(t, s, Loopback, "tiny", fmt.Sprint("--repeat=", warmUp)))
	before := s.settled(t, footprint{})
	wantAll(t, jobs, runGo(t, s, Loopback, "tiny", fmt.Sprint("--repeat=", jobs)))
	after := s.settled(t, before)
	t.Logf("after %d more jobs: goroutines %d -> %d, open files %d -> %d, memory %d -> %d MiB", jobs,
		before.goroutines, after.goroutines, before.files, after.files, before.rss>>20, after.rss>>20)
	if !after.within(before) {
		t.Errorf("the server grew: before %+v, after %+v", before, after)
		if text, err := s.get(t.Context(), "/debug/pprof/goroutine?debug=1"); err == nil {
			if err := os.WriteFile(outFile(t, "goroutines.txt"), []byte(text), 0o644); err != nil {
				t.Error(err)
			}
		}
	}
}

// footprint is what a server occupies.
type footprint struct {
	goroutines, files int
	rss               int64
}

func (f footprint) within(before footprint) bool {
	return f.goroutines <= before.goroutines+goroutineMargin && f.files <= before.files+fileMargin && f.rss <= before.rss+rssMargin
}

var goroutineTotal = regexp.MustCompile(`goroutine profile: total (\d+)`)

func (s *server) footprint(t *testing.T) footprint {
	t.Helper()
	// A heap profile with gc=1 collects garbage first.
	_, err := s.get(t.Context(), "/debug/pprof/heap?gc=1")
	if err != nil {
		t.Fatal(err)
	}
	text, err := s.get(t.Context(), "/debug/pprof/goroutine?debug=1")
	if err != nil {
		t.Fatal(err)
	}
	m := goroutineTotal.FindStringSubmatch(text)
	if m == nil {
		t.Fatalf("no total in the goroutine profile: %.100q", text)
	}
	u, err := subprocess.UsageOf(s.process.PID())
	if err != nil {
		t.Fatal(err)
	}
	f := footprint{files: u.OpenFiles, rss: u.RSS}
	if f.goroutines, err = strconv.Atoi(m[1]); err != nil {
		t.Fatal(err)
	}
	return f
}

// settled returns the footprint once it is within the margin of before, or,
// where there is no before, once it is the same two times in a row; at the
// latest after settleTimeout.
func (s *server) settled(t *testing.T, before footprint) footprint {
	t.Helper()
	deadline := time.After(settleTimeout)
	tick := time.NewTicker(500 * time.Millisecond)
	defer tick.Stop()
	last := s.footprint(t)
	for {
		select {
		case <-deadline:
			return last
		case <-tick.C:
		}
		now := s.footprint(t)
		same := now.goroutines == last.goroutines && now.files == last.files
		if before == (footprint{}) && same || before != (footprint{}) && now.within(before) {
			return now
		}
		last = now
	}
}
