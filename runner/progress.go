package runner

import (
	"fmt"
	"log/slog"
	"time"

	"github.com/gorunner/gorunner/element"
	"github.com/gorunner/gorunner/execution/engine"
)

// Progress is how far a job is, summed over its stages: an element counts once
// for each stage that read it, and once for each that wrote it.
type Progress struct {
	ElementsIn, BytesIn   int64
	ElementsOut, BytesOut int64
	// StagesDone of Stages have nothing left to do.
	StagesDone, Stages int
	// Running is the number of bundles being executed, Pending that of elements
	// that wait.
	Running, Pending int
	// Watermark is the least output watermark of a job that has unbounded sources
	// and goes by the clock; of other jobs it is element.MaxTime.
	Watermark element.EventTime
}

func (j *job) progressOf(s engine.Status) Progress {
	p := Progress{Stages: len(s.Stages), Watermark: element.MaxTime}
	for _, st := range s.Stages {
		if j.streaming {
			p.Watermark = min(p.Watermark, st.Watermark)
		}
		p.ElementsIn += st.ElementsIn
		p.BytesIn += st.BytesIn
		p.ElementsOut += st.ElementsOut
		p.BytesOut += st.BytesOut
		p.Running += st.Running
		p.Pending += st.Pending
		if st.Done {
			p.StagesDone++
		}
	}
	return p
}

func (p Progress) attrs() []any {
	return []any{
		"stages", fmt.Sprintf("%d/%d", p.StagesDone, p.Stages),
		"elements_in", p.ElementsIn, "bytes_in", p.BytesIn,
		"elements_out", p.ElementsOut, "bytes_out", p.BytesOut,
	}
}

// text is the report for people at a time; the rates are those since last.
func (p Progress) text(last Progress, elapsed time.Duration, now time.Time) string {
	s := fmt.Sprintf("%d of %s done; read %s (%s), wrote %s (%s)",
		p.StagesDone, plural(int64(p.Stages), "stage"),
		plural(p.ElementsIn, "element"), humanBytes(float64(p.BytesIn)),
		plural(p.ElementsOut, "element"), humanBytes(float64(p.BytesOut)))
	if sec := elapsed.Seconds(); sec > 0 {
		s += fmt.Sprintf("; %.0f elements/s, %s/s", float64(p.ElementsOut-last.ElementsOut)/sec,
			humanBytes(float64(p.BytesOut-last.BytesOut)/sec))
	}
	if p.Running > 0 || p.Pending > 0 {
		s += fmt.Sprintf("; %s running, %s waiting", plural(int64(p.Running), "bundle"), plural(int64(p.Pending), "element"))
	}
	return s + watermarkText(p.Watermark, now)
}

// watermarkText says where the watermark is, and how far behind the clock.
func watermarkText(w element.EventTime, now time.Time) string {
	switch {
	case w >= element.EndOfGlobalWindow:
		return ""
	case w == element.MinTime:
		return "; no watermark yet"
	}
	at := time.UnixMilli(int64(w))
	s := "; watermark " + at.UTC().Format("2006-01-02T15:04:05.000Z")
	if lag := now.Sub(at); lag > 0 {
		s += fmt.Sprintf(", %v behind", lag.Round(time.Millisecond))
	}
	return s
}

// progressSpread makes reports rarer as a job gets older: each comes after at
// least the job's age divided by it, so that a job of days does not fill its
// history with them. They are never more than progressRarest apart.
const (
	progressSpread = 60
	progressRarest = time.Minute
)

// progressDue says whether a job of the age is to be reported on again. Ticks
// come every interval, or a little sooner or later.
func progressDue(age, sinceLast, interval time.Duration) bool {
	return sinceLast+interval/2 >= min(age/progressSpread, max(progressRarest, interval))
}

// startProgress reports on the job until the returned function is called,
// which waits for the last report.
func (s *Server) startProgress(j *job, log *slog.Logger) (stop func()) {
	quit, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		ticker := time.NewTicker(s.opts.ProgressInterval)
		defer ticker.Stop()
		begin := s.opts.Clock()
		last, lastTime := Progress{}, begin
		for {
			select {
			case <-quit:
				return
			case <-ticker.C:
			}
			now := s.opts.Clock()
			if !progressDue(now.Sub(begin), now.Sub(lastTime), s.opts.ProgressInterval) {
				continue
			}
			p := j.progressOf(j.status())
			if p == last {
				continue
			}
			memory, disk := j.usage()
			text := p.text(last, now.Sub(lastTime), now) + roomText(memory, disk)
			j.hub.say(Basic, text)
			log.Info("progress: " + text) //nolint:sloglint // the line is read by people as it stands
			last, lastTime = p, now
		}
	}()
	return func() {
		close(quit)
		<-done
	}
}

func plural(n int64, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}

// humanBytes prints a size with three digits.
func humanBytes(n float64) string {
	units := []string{"B", "KiB", "MiB", "GiB", "TiB"}
	i := 0
	for n >= 1000 && i < len(units)-1 {
		n /= 1024
		i++
	}
	if i == 0 || n >= 100 {
		return fmt.Sprintf("%.0f %s", n, units[i])
	}
	return fmt.Sprintf("%.1f %s", n, units[i])
}
