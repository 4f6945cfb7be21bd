package trigger_test

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/gorunner/gorunner/plan"
)

// parse reads a trigger as the scripts write it:
//
//	default  never  always  sync  count(3)  eow  eow(early=count(2), late=always)
//	delay(5s, align 10s + 3s)  each(…, …)  all(…)  any(…)  or_finally(…, …)  repeat(…)
func parse(s string) (plan.Trigger, error) {
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
		if parts[i], err = parse(arg); err != nil {
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
		p, err := parse(part)
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
