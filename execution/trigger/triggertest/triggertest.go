// Package triggertest writes triggers as the scripts of tests do, and draws
// them at random. Its functions may be called from any goroutine.
package triggertest

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"pgregory.net/rapid"

	"github.com/gorunner/gorunner/plan"
)

// Parse reads a trigger:
//
//	default  never  always  sync  count(3)  eow  eow(early=count(2), late=always)
//	delay(5s, align 10s + 3s)  each(…, …)  all(…)  any(…)  or_finally(…, …)  repeat(…)
func Parse(s string) (plan.Trigger, error) {
	name, args, err := call(s)
	if err != nil {
		return nil, err
	}
	switch name {
	case "default":
		return plan.DefaultTrigger{}, nil
	case "never":
		return plan.NeverTrigger{}, nil
	case "always":
		return plan.AlwaysTrigger{}, nil
	case "sync":
		return plan.AfterSynchronizedProcessingTime{}, nil
	case "count":
		n, err := strconv.Atoi(strings.Join(args, ","))
		return plan.AfterCount{Elements: n}, err
	case "delay":
		return parseDelay(args)
	case "eow":
		return parseEndOfWindow(args)
	}
	parts := make([]plan.Trigger, len(args))
	for i, arg := range args {
		if parts[i], err = Parse(arg); err != nil {
			return nil, err
		}
	}
	switch {
	case name == "each":
		return plan.AfterEach{Parts: parts}, nil
	case name == "all":
		return plan.AfterAll{Parts: parts}, nil
	case name == "any":
		return plan.AfterAny{Parts: parts}, nil
	case name == "or_finally" && len(parts) == 2:
		return plan.OrFinally{Main: parts[0], Finally: parts[1]}, nil
	case name == "repeat" && len(parts) == 1:
		return plan.Repeat{Part: parts[0]}, nil
	}
	return nil, fmt.Errorf("unknown trigger %q", s)
}

// call splits name(a, b) into the name and what stands between the commas.
func call(s string) (name string, args []string, err error) {
	s = strings.TrimSpace(s)
	name, rest, ok := strings.Cut(s, "(")
	if !ok {
		return s, nil, nil
	}
	rest, ok = strings.CutSuffix(rest, ")")
	if !ok {
		return "", nil, fmt.Errorf("no end of %q", s)
	}
	depth, start := 0, 0
	for i, c := range rest {
		switch c {
		case '(':
			depth++
		case ')':
			depth--
		case ',':
			if depth == 0 {
				args = append(args, rest[start:i])
				start = i + 1
			}
		}
	}
	if strings.TrimSpace(rest) != "" {
		args = append(args, rest[start:])
	}
	return name, args, nil
}

func parseDelay(args []string) (plan.Trigger, error) {
	var t plan.AfterProcessingTime
	for _, arg := range args {
		var s plan.TimeShift
		var err error
		period, aligned := strings.CutPrefix(strings.TrimSpace(arg), "align ")
		if !aligned {
			s.Delay, err = time.ParseDuration(period)
		} else {
			period, offset, shifted := strings.Cut(period, " + ")
			if s.Period, err = time.ParseDuration(period); err == nil && shifted {
				s.Offset, err = time.ParseDuration(offset)
			}
		}
		if err != nil {
			return nil, err
		}
		t.Shifts = append(t.Shifts, s)
	}
	return t, nil
}

func parseEndOfWindow(args []string) (plan.Trigger, error) {
	var t plan.AfterEndOfWindow
	for _, arg := range args {
		name, part, _ := strings.Cut(strings.TrimSpace(arg), "=")
		p, err := Parse(part)
		if err != nil {
			return nil, err
		}
		switch name {
		case "early":
			t.Early = p
		case "late":
			t.Late = p
		default:
			return nil, fmt.Errorf("unknown part %q", arg)
		}
	}
	return t, nil
}

// Draw draws a trigger of at most that depth.
func Draw(t *rapid.T, depth int) plan.Trigger {
	kinds := 12
	if depth <= 1 {
		kinds = 6
	}
	part := func() plan.Trigger { return Draw(t, depth-1) }
	parts := func() []plan.Trigger {
		ps := make([]plan.Trigger, rapid.IntRange(1, 3).Draw(t, "parts"))
		for i := range ps {
			ps[i] = part()
		}
		return ps
	}
	switch rapid.IntRange(0, kinds-1).Draw(t, "kind") {
	case 0:
		return plan.AfterCount{Elements: rapid.IntRange(1, 4).Draw(t, "count")}
	case 1:
		return plan.AfterProcessingTime{Shifts: []plan.TimeShift{
			{Delay: time.Duration(rapid.IntRange(0, 5).Draw(t, "delay")) * time.Millisecond},
		}}
	case 2:
		return plan.DefaultTrigger{}
	case 3:
		return plan.AlwaysTrigger{}
	case 4:
		return plan.AfterSynchronizedProcessingTime{}
	case 5:
		return plan.NeverTrigger{}
	case 6:
		end := plan.AfterEndOfWindow{}
		if rapid.Bool().Draw(t, "early") {
			end.Early = part()
		}
		if rapid.Bool().Draw(t, "late") {
			end.Late = part()
		}
		return end
	case 7:
		return plan.AfterEach{Parts: parts()}
	case 8:
		return plan.AfterAll{Parts: parts()}
	case 9:
		return plan.AfterAny{Parts: parts()}
	case 10:
		return plan.OrFinally{Main: part(), Finally: part()}
	default:
		return plan.Repeat{Part: part()}
	}
}
