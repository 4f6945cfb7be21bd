package main

import (
	"fmt"
	"time"

	"github.com/apache/beam/sdks/v2/go/pkg/beam"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/core/graph/mtime"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/core/graph/window"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/register"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/testing/passert"
)

func init() {
	register.Function1x2(stamp)
	register.Function1x2(constantKey)
	register.Function3x1(withWindow)
	register.Function3x1(sideSum)
}

// stamp makes i the timestamp, in seconds, of the element i.
func stamp(i int) (beam.EventTime, int) {
	return mtime.FromDuration(time.Duration(i) * time.Second), i
}

func constantKey(i int) (string, int) { return "k", i }

// withWindow formats a group with the window that it is in, in seconds.
func withWindow(w beam.Window, key string, values func(*int) bool) string {
	span := ""
	switch w := w.(type) {
	case window.IntervalWindow:
		span = fmt.Sprintf("[%d,%d)", w.Start/1000, w.End/1000)
	default:
		span = "global"
	}
	return joinSorted(key+span, values)
}

// windowed groups the stamped integers by window and returns the groups in the
// global window.
func windowed(s beam.Scope, fn *window.Fn, values ...any) beam.PCollection {
	col := beam.WindowInto(s, fn, beam.ParDo(s, stamp, beam.Create(s, values...)))
	grouped := beam.ParDo(s, withWindow, beam.GroupByKey(s, beam.ParDo(s, constantKey, col)))
	return beam.WindowInto(s, window.NewGlobalWindows(), grouped)
}

func fixedWindows(s beam.Scope, _ config) {
	got := windowed(s, window.NewFixedWindows(10*time.Second), 0, 9, 10, 25, 29, 3)
	passert.Equals(s, got, "k[0,10)[0 3 9]", "k[10,20)[10]", "k[20,30)[25 29]")
	sideInWindow(s)
}

func slidingWindows(s beam.Scope, _ config) {
	got := windowed(s, window.NewSlidingWindows(5*time.Second, 10*time.Second), 0, 4, 5, 12)
	passert.Equals(s, got, "k[-5,5)[0 4]", "k[0,10)[0 4 5]", "k[5,15)[5 12]", "k[10,20)[12]")
}

func sessions(s beam.Scope, _ config) {
	// 14 comes last and bridges the gap between 8 and 20.
	got := windowed(s, window.NewSessions(7*time.Second), 0, 8, 20, 2, 40, 14)
	passert.Equals(s, got, "k[0,27)[0 2 8 14 20]", "k[40,47)[40]")
}

func sideSum(w beam.Window, i int, side func(*int) bool) string {
	iw, ok := w.(window.IntervalWindow)
	if !ok {
		return fmt.Sprintf("window is a %T", w)
	}
	return fmt.Sprint(int64(iw.Start)/1000, "+", addAll(i, side))
}

// sideInWindow reads a side input whose windows are twice as long as those of
// the main input.
func sideInWindow(s beam.Scope) {
	s = s.Scope("SideInWindow")
	main := beam.WindowInto(s, window.NewFixedWindows(10*time.Second), beam.ParDo(s, stamp, beam.Create(s, 1, 11, 21)))
	side := beam.WindowInto(s, window.NewFixedWindows(20*time.Second), beam.ParDo(s, stamp, beam.Create(s, 5, 15, 25)))
	got := beam.ParDo(s, sideSum, main, beam.SideInput{Input: side})
	passert.Equals(s, beam.WindowInto(s, window.NewGlobalWindows(), got), "0+21", "10+31", "20+46")
}
