package main

import (
	"fmt"
	"math"
	"slices"
	"strings"
)

// table returns the results of the match in Markdown.
func (m *match) table() string {
	var b strings.Builder
	w := m.workload
	fmt.Fprintf(&b, "## %s: %d %s\n\n", w.name, w.records, w.unit)
	fmt.Fprintf(&b, "| runner | seconds (min-max) | %s/s | runner CPU s | worker CPU s | runner peak MB | gorunner is faster by |\n|---|---|---|---|---|---|---|\n", w.unit)
	for _, c := range m.contenders() {
		runs := m.runs[c.name]
		if err := firstError(runs); err != nil {
			fmt.Fprintf(&b, "| %s | failed: %s | | | | %.0f | |\n", c.name, oneLine(err), median(runs, peakMB))
			continue
		}
		seconds := median(runs, func(r run) float64 { return r.seconds })
		ratio := ""
		if c.name != ours {
			ratio = m.ratio(c.name)
		}
		fmt.Fprintf(&b, "| %s | %.2f (%.2f-%.2f) | %s | %.1f | %.1f | %.0f | %s |\n", c.name,
			seconds, least(runs), most(runs), thousands(float64(w.records)/seconds),
			median(runs, func(r run) float64 { return r.runner.Seconds() }),
			median(runs, func(r run) float64 { return r.worker.Seconds() }),
			median(runs, peakMB), ratio)
	}
	return b.String()
}

// ratio returns the median, over the rounds, of how much longer the contender
// took than we did.
func (m *match) ratio(name string) string {
	mine, theirs := m.runs[ours], m.runs[name]
	if firstError(mine) != nil {
		return ""
	}
	var ratios []float64
	for i := range mine {
		ratios = append(ratios, theirs[i].seconds/mine[i].seconds)
	}
	return fmt.Sprintf("%.2fx", medianOf(ratios))
}

func peakMB(r run) float64 { return float64(r.runnerPeak) / (1 << 20) }

func firstError(runs []run) error {
	for _, r := range runs {
		if r.err != nil {
			return r.err
		}
	}
	return nil
}

func median(runs []run, of func(run) float64) float64 {
	var values []float64
	for _, r := range runs {
		values = append(values, of(r))
	}
	return medianOf(values)
}

// medianOf returns the middle value; of an even number the mean of the two.
func medianOf(values []float64) float64 {
	if len(values) == 0 {
		return math.NaN()
	}
	values = slices.Sorted(slices.Values(values))
	half := len(values) / 2
	if len(values)%2 == 1 {
		return values[half]
	}
	return (values[half-1] + values[half]) / 2
}

func least(runs []run) float64 {
	return slices.MinFunc(runs, bySeconds).seconds
}

func most(runs []run) float64 {
	return slices.MaxFunc(runs, bySeconds).seconds
}

func bySeconds(a, b run) int {
	switch {
	case a.seconds < b.seconds:
		return -1
	case a.seconds > b.seconds:
		return 1
	}
	return 0
}

// thousands formats a rate with three significant digits and a unit.
func thousands(x float64) string {
	switch {
	case x >= 1e6:
		return fmt.Sprintf("%.2f M", x/1e6)
	case x >= 1e3:
		return fmt.Sprintf("%.1f k", x/1e3)
	}
	return fmt.Sprintf("%.1f", x)
}

// oneLine makes an error fit into a cell of a table.
func oneLine(err error) string {
	text := strings.Join(strings.Fields(err.Error()), " ")
	text = strings.ReplaceAll(text, "|", "/")
	const limit = 160
	if len(text) > limit {
		text = strings.ToValidUTF8(text[:limit], "") + "…"
	}
	return text
}
