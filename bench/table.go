package main

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
)

// tableHead is the head of the table to which each match adds rows.
const tableHead = "| workload | runner | seconds (min-max) | per second | gorunner is faster | runner CPU | worker CPU | runner peak MB | share of ceiling, time | CPU |\n" +
	"|---|---|---|---|---|---|---|---|---|---|\n"

// rows returns the results of the match in Markdown. CPU time is in microseconds
// per record.
func (m *match) rows() string {
	var b strings.Builder
	w := m.workload
	name := fmt.Sprintf("%s: %s %s", w.name, thousands(float64(w.records)), w.unit)
	if w.memory != "" {
		name += ", budget " + w.memory
	}
	row := func(runner string, cells ...string) {
		fmt.Fprintf(&b, "| %s | %s | %s |\n", name, runner, strings.Join(cells, " | "))
		name = ""
	}
	if w.alone != "" {
		row(prism, w.alone, "", "", "", "", "", "", "")
	}
	for _, c := range m.contenders() {
		runs := m.runs[c.name]
		if err := firstError(runs); err != nil {
			row(c.name, failure(err), "", m.atLeast(err), "", "", peak(runs), "", "")
			continue
		}
		seconds := median(runs, func(r run) float64 { return r.seconds })
		cells := []string{
			fmt.Sprintf("%.2f (%.2f-%.2f)", seconds, least(runs), most(runs)), thousands(float64(w.records) / seconds), "",
			m.cpu(runs, func(r run) float64 { return r.runner.Seconds() }),
			m.cpu(runs, func(r run) float64 { return r.worker.Seconds() }), peak(runs), "", "",
		}
		switch c.name {
		case ours:
			cells[6], cells[7] = percent(m.share()), percent(m.cpuShare())
		case ceiling:
			cells[3] = m.cpu(runs, func(r run) float64 { return r.ceiling.CPU })
			cells[4] = m.cpu(runs, func(r run) float64 { return r.ceiling.WorkerCPU })
			cells[5] = ""
		default:
			cells[2] = times(m.ratio(c.name))
		}
		row(c.name, cells...)
	}
	return b.String()
}

// barHead is the head of the table of bars.
const barHead = "| workload | share of ceiling | bar | against Prism at its better | bar |\n|---|---|---|---|---|\n"

// barRow says what the workload was to reach.
func (m *match) barRow() string {
	bar := m.workload.bar
	if bar.share == 0 && bar.prism == 0 {
		return ""
	}
	against := m.ratio(prism)
	if other := m.ratio(prism8); other < against || math.IsNaN(against) {
		against = other
	}
	return fmt.Sprintf("| %s | %s | %s | %s | %s |\n", m.workload.name, verdict(m.share(), bar.share), percent(orNaN(bar.share)),
		verdictTimes(against, bar.prism), times(orNaN(bar.prism)))
}

func orNaN(x float64) float64 {
	if x == 0 {
		return math.NaN()
	}
	return x
}

func verdict(got, want float64) string { return below(percent(got), got, want) }

func verdictTimes(got, want float64) string { return below(times(got), got, want) }

// below marks what is below its bar.
func below(text string, got, want float64) string {
	if got < want {
		return "**" + text + "**"
	}
	return text
}

// pairs returns a figure of each round that both contenders have run.
func (m *match) pairs(a, b string, of func(a, b run) float64) float64 {
	var figures []float64
	for i := range min(len(m.runs[a]), len(m.runs[b])) {
		x, y := m.runs[a][i], m.runs[b][i]
		if !x.skipped && !y.skipped && x.err == nil && y.err == nil {
			figures = append(figures, of(x, y))
		}
	}
	return medianOf(figures)
}

// ratio is how much longer the contender took than we did.
func (m *match) ratio(name string) float64 {
	return m.pairs(name, ours, func(them, us run) float64 { return them.seconds / us.seconds })
}

// share is the least time of the workload by the time that we executed it in.
func (m *match) share() float64 {
	return m.pairs(ceiling, ours, func(c, us run) float64 { return c.seconds / us.executed })
}

// cpuShare is the CPU time that the workload needs by what it took as we ran it,
// runner and workers together.
func (m *match) cpuShare() float64 {
	return m.pairs(ceiling, ceiling, func(c, _ run) float64 {
		return (c.ceiling.WorkerCPU + c.ceiling.CPU) / (c.ceiling.RecordedWorkerCPU + c.ceiling.RecordedCPU)
	})
}

// atLeast is how much longer than we a contender has taken that did not end.
func (m *match) atLeast(err error) string {
	if !errors.Is(err, errTooLong) || firstError(m.runs[ours]) != nil || len(m.runs[ours]) == 0 {
		return ""
	}
	return "more than " + times(m.settings.peerTimeout.Seconds()/median(m.runs[ours], func(r run) float64 { return r.seconds }))
}

func failure(err error) string {
	if errors.Is(err, errTooLong) {
		return oneLine(err)
	}
	return "failed: " + oneLine(err)
}

func (m *match) cpu(runs []run, of func(run) float64) string {
	return fmt.Sprintf("%.3g", 1e6*median(runs, of)/float64(m.workload.records))
}

func percent(x float64) string {
	if math.IsNaN(x) {
		return ""
	}
	return fmt.Sprintf("%.0f %%", 100*x)
}

func times(x float64) string {
	if math.IsNaN(x) {
		return ""
	}
	return fmt.Sprintf("%.2fx", x)
}

func peak(runs []run) string {
	mb := median(runs, func(r run) float64 { return float64(r.runnerPeak) / (1 << 20) })
	if !(mb > 0) {
		return ""
	}
	return fmt.Sprintf("%.0f", mb)
}

func firstError(runs []run) error {
	for _, r := range runs {
		if r.err != nil {
			return r.err
		}
	}
	return nil
}

// median returns the median of a figure over the runs that took place.
func median(runs []run, of func(run) float64) float64 {
	var values []float64
	for _, r := range runs {
		if !r.skipped {
			values = append(values, of(r))
		}
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

func least(runs []run) float64 { return slices.MinFunc(ran(runs), bySeconds).seconds }

func most(runs []run) float64 { return slices.MaxFunc(ran(runs), bySeconds).seconds }

// ran are the runs that took place; the first always did.
func ran(runs []run) []run {
	return slices.DeleteFunc(slices.Clone(runs), func(r run) bool { return r.skipped })
}

func bySeconds(a, b run) int { return cmp.Compare(a.seconds, b.seconds) }

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
