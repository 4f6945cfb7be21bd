package runner

import (
	"errors"
	"strings"

	"github.com/gorunner/gorunner/execution/engine"
	"github.com/gorunner/gorunner/fnapi"
	"github.com/gorunner/gorunner/plan"
)

// describeFailure is what the user reads of a failed job: which transform, what
// happened, and the SDK's own text as it came.
func (j *job) describeFailure(err error) string {
	if err == nil || errors.Is(err, engine.ErrCancelled) {
		return ""
	}
	var bundle *engine.BundleError
	if !errors.As(err, &bundle) || bundle.Stage == nil || bundle.Err == nil {
		return err.Error()
	}
	text := bundle.Err.Error()
	said := text
	var sdk *fnapi.SDKError
	if errors.As(bundle.Err, &sdk) {
		said = sdk.Text // without the names that we have put before it
	}
	var b strings.Builder
	b.WriteString(culprit(bundle.Stage, said))
	b.WriteString(" failed")
	if bundle.Attempts > 1 {
		b.WriteString(" in each of ")
		b.WriteString(plural(int64(bundle.Attempts), "attempt"))
	}
	b.WriteString(":\n")
	b.WriteString(text)
	if bundle.Kept != "" {
		b.WriteString("\nIts input is kept in ")
		b.WriteString(bundle.Kept)
	}
	return b.String()
}

// culprit names the transform that an error of a stage is about. Fused
// transforms fail as one, so it is the one that the SDK mentions last: stack
// traces end with what matters.
func culprit(s *plan.Stage, text string) string {
	var transforms []plan.Transform
	switch k := s.Kind.(type) {
	case *plan.Executable:
		transforms = k.Transforms
	case *plan.Impulse, *plan.TestSource, *plan.GroupByKey, *plan.View, *plan.TimeSort:
		return "stage " + s.Name
	}
	if len(transforms) == 1 {
		return "transform " + transforms[0].Name
	}
	best, bestAt := "", -1
	for _, t := range transforms {
		at := max(lastMention(text, t.Name), lastMention(text, string(t.ID)))
		// "Format" is also mentioned where "Count/Format" is: the longer is meant.
		if at > bestAt || at == bestAt && at >= 0 && len(t.Name) > len(best) {
			best, bestAt = t.Name, at
		}
	}
	if bestAt >= 0 {
		return "transform " + best
	}
	names := make([]string, len(transforms))
	for i, t := range transforms {
		names[i] = t.Name
	}
	return "one of the fused transforms " + strings.Join(names, ", ")
}

// lastMention returns where the last occurrence of name as a word of its own
// ends in text, or -1.
func lastMention(text, name string) int {
	if name == "" {
		return -1
	}
	inWord := func(c byte) bool {
		return c == '_' || c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z'
	}
	for rest := text; ; {
		start := strings.LastIndex(rest, name)
		if start < 0 {
			return -1
		}
		end := start + len(name)
		if (start == 0 || !inWord(text[start-1])) && (end == len(text) || !inWord(text[end])) {
			return end
		}
		rest = text[:end-1]
	}
}
