package main

import (
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"strconv"
	"strings"
)

// series is a workload that grows tenfold from step to step.
type series struct {
	name string
	// what grows, and what the cost is counted in.
	grows, unit string
	steps       []step
}

// step is a size of a series. units is what its cost is divided by.
type step struct {
	size, units int
	args        []string
}

// allSeries are the series, from the smallest size that is no matter of start-up
// alone.
func allSeries(scale float64) []series {
	grow := func(from, to int, make func(n int) step) []step {
		var steps []step
		for n := max(1, from); n <= to; n *= 10 {
			steps = append(steps, make(n))
		}
		return steps
	}
	arg := func(name string, n int) string { return "--" + name + "=" + strconv.Itoa(n) }
	most := scaled(100_000_000, scale)
	return []series{
		{"GroupByKey", "records of 10 bytes, 1,000 keys", "record", grow(most/1000, most, func(n int) step {
			return step{n, n, []string{"--workload=gbk", arg("records", n), "--keys=1000", "--value_bytes=10"}}
		})},
		{"Reshuffle", "integers", "record", grow(most/1000, most, func(n int) step {
			return step{n, n, []string{"--workload=reshuffle", arg("records", n)}}
		})},
		{"Keys", "keys of " + thousands(float64(most/10)) + " records of 10 bytes", "record", grow(most/100_000, most/10, func(n int) step {
			return step{n, most / 10, []string{"--workload=gbk", arg("records", most/10), arg("keys", n), "--value_bytes=10"}}
		})},
		{"Stages", "stages for 1,000 records", "stage and record", grow(10, 1000, func(n int) step {
			return step{n, n * 1000, []string{"--workload=stages", "--records=1000", arg("stages", n)}}
		})},
		{"Windows", "windows for each of 10,000 records", "window and record", grow(1, 1000, func(n int) step {
			return step{n, n * 10_000, []string{"--workload=windows", "--records=10000", "--keys=10", arg("windows", n)}}
		})},
	}
}

// growthMax is how much a unit may cost more than in the step before.
const growthMax = 1.3

// scaling measures what one more unit of work costs the runner, and a unit the
// workers, as the work grows, in CPU time.
func scaling(ctx context.Context, b binaries, s settings) error {
	text := "| series | size | seconds | runner CPU, us for one unit more | worker CPU, us a unit | runner peak MB | runner's growth |\n|---|---|---|---|---|---|---|\n"
	s.peers, s.ceiling, s.pairs = false, false, 1
	found := false
	for _, series := range allSeries(s.scale) {
		if !s.filter.MatchString(series.name) {
			continue
		}
		found = true
		rows, err := measureSeries(ctx, b, s, series)
		if err != nil {
			return fmt.Errorf("series %s: %w", series.name, err)
		}
		text += rows
		if err := s.write(text); err != nil {
			return err
		}
	}
	if !found {
		return fmt.Errorf("no series matches %q", s.filter)
	}
	fmt.Print(text)
	return nil
}

func measureSeries(ctx context.Context, b binaries, s settings, series series) (string, error) {
	var rows strings.Builder
	last, before := math.NaN(), point{}
	for _, st := range series.steps {
		w := workload{name: series.name, records: st.units, unit: series.unit, args: st.args}
		m := &match{build: b, settings: s, workload: w}
		if err := m.run(ctx); err != nil {
			return "", err
		}
		r := m.runs[ours][0]
		size := fmt.Sprintf("%s %s", thousands(float64(st.size)), series.grows)
		if r.err != nil {
			if errors.Is(r.err, context.Canceled) {
				return "", r.err
			}
			fmt.Fprintf(&rows, "| %s | %s | %s | | | %s | |\n", series.name, size, failure(r.err), peak(m.runs[ours]))
			continue
		}
		here := point{float64(st.units), r.runner.Seconds()}
		unit := 1e6 * here.marginal(before)
		fmt.Fprintf(&rows, "| %s | %s | %.2f | %.3g | %.3g | %s | %s |\n", series.name, size, r.seconds, unit,
			1e6*r.worker.Seconds()/float64(st.units), peak(m.runs[ours]), growth(unit/last))
		fmt.Fprintf(os.Stderr, "%s %d: %.3g us of the runner for one more %s\n", series.name, st.size, unit, series.unit)
		last, before = unit, here
	}
	return rows.String(), nil
}

// point is what a number of units has cost.
type point struct{ units, cost float64 }

// marginal is what a unit costs beyond those of the point before, without what
// costs the same whatever the size. Where the units are the same, it is the mean.
func (p point) marginal(before point) float64 {
	if p.units > before.units {
		return (p.cost - before.cost) / (p.units - before.units)
	}
	return p.cost / p.units
}

// growth marks a cost that grows faster than the work.
func growth(ratio float64) string {
	switch {
	case math.IsNaN(ratio):
		return ""
	case ratio > growthMax:
		return fmt.Sprintf("**%.2fx**", ratio)
	}
	return fmt.Sprintf("%.2fx", ratio)
}
