package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/apache/beam/sdks/v2/go/pkg/beam"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/core/graph/mtime"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/core/graph/window"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/core/typex"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/register"
)

func init() {
	register.Function2x0(burst)
	register.Function1x2(fewKeys)
	beam.RegisterType(reflect.TypeFor[sinkFn]())
}

// burst gives integers times with gaps between them.
func burst(i int, emit func(beam.EventTime, int)) {
	emit(mtime.FromMilliseconds(int64(i/200)*100_000+int64(i%200)*100), i)
}

// fewKeys gives an integer one of a few keys.
func fewKeys(i int) (int, int) { return i * 7919 % 7, i }

// sinkFn writes a file for each pane. To write one again changes nothing, unless
// it holds something else: then there is a second file.
type sinkFn struct{ Dir string }

// ProcessElement writes a pane.
func (f *sinkFn) ProcessElement(p typex.PaneInfo, w typex.Window, key int, values func(*int) bool) error {
	var all []string
	for v := 0; values(&v); {
		all = append(all, fmt.Sprint(v))
	}
	slices.Sort(all)
	name := fmt.Sprintf("out-%d-%d-pane-%d", key, w.MaxTimestamp(), p.Index)
	line := []byte(name + ": " + strings.Join(all, " ") + "\n")
	path := filepath.Join(f.Dir, name)
	if before, err := os.ReadFile(path); err == nil && string(before) != string(line) {
		path += "-again"
	}
	// In one step, and by a name that no other has: workers die while they write.
	temporary, err := os.CreateTemp(f.Dir, "temporary-*")
	if err != nil {
		return err
	}
	_, err = temporary.Write(line)
	return errors.Join(err, temporary.Close(), os.Rename(temporary.Name(), path))
}

func sessions(s beam.Scope, c config) {
	timed := beam.ParDo(s, burst, source(s, c.size))
	windowed := beam.WindowInto(s, window.NewSessions(30*time.Second), beam.ParDo(s, fewKeys, timed))
	beam.ParDo0(s, &sinkFn{c.out}, beam.GroupByKey(s, windowed))
}

// streaming counts what comes without an end, in windows of a second.
func streaming(s beam.Scope, c config) {
	numbers := steps(s, stepsFn{tracked: tracked{N: c.size, Shards: 3}, Step: 100, Pause: 2})
	windowed := beam.WindowInto(s, window.NewFixedWindows(time.Second), beam.ParDo(s, fewKeys, numbers))
	beam.ParDo0(s, &sinkFn{c.out}, beam.GroupByKey(s, windowed))
}
