package main

import (
	"errors"
	"path/filepath"
	"regexp"
	"testing"
	"time"
)

// TestWorkloads runs every Go workload once on the ceiling, as small as it gets:
// each checks its own result, and the replay must play what was recorded. How
// long that takes is nobody's business here.
func TestWorkloads(t *testing.T) {
	if testing.Short() {
		t.Skip("builds and runs programs")
	}
	root, err := filepath.Abs("..")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	b := binaries{pipelines: filepath.Join(dir, "pipelines"), ceiling: filepath.Join(dir, "ceiling"), cache: dir}
	if err := errors.Join(
		goBuild(t.Context(), root, b.ceiling, "./bench/ceiling"),
		goBuild(t.Context(), root, b.pipelines, "./bench/pipelines"),
	); err != nil {
		t.Fatal(err)
	}
	const smallest = 0.0002
	s := settings{pairs: 1, replays: 1, ceiling: true, root: root, cache: dir, timeout: time.Minute, filter: regexp.MustCompile(".")}
	all := workloads(smallest)
	for _, more := range allSeries(smallest) {
		first := more.steps[0]
		all = append(all, workload{name: more.name, records: first.units, args: first.args})
	}
	for _, w := range all {
		if w.args == nil {
			continue
		}
		t.Run(w.name, func(t *testing.T) {
			w.bounded = false
			m := &match{build: b, settings: s, workload: w}
			client, err := w.client(b, s)
			if err != nil {
				t.Fatal(err)
			}
			contenders := m.contenders()
			r := m.once(t.Context(), contenders[len(contenders)-1], client)
			if r.err != nil {
				t.Fatal(r.err)
			}
			if r.ceiling.Seconds <= 0 || r.ceiling.Recorded <= 0 || r.ceiling.Kind == "" {
				t.Errorf("report of the ceiling: %+v", r.ceiling)
			}
		})
	}
}
