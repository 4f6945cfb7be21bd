package runner

import (
	"fmt"
	"math"
	"runtime"
	"strconv"
	"strings"
	"time"

	jobpb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/jobmanagement_v1"
	"google.golang.org/protobuf/types/known/structpb"
)

// jobOptions are the pipeline options that the runner itself looks at.
type jobOptions struct {
	// name is the job's name; empty when the options have none.
	name string
	// parallelism is the number of workers of each environment: 0 by cores, nil
	// when the user did not say.
	parallelism *int
	// memory and disk are the most bytes of data there; 0 is what the server has.
	memory, disk   int64
	bundleBytes    int
	bundleAttempts int
	workerRestarts int
	restartWindow  time.Duration
	workerTimeout  time.Duration
	// park says that elements which keep failing are put aside, up to maxParked of a
	// stage.
	park      bool
	maxParked int
	// workerProcesses is the number of workers of a Python client's environment,
	// workerPython the interpreter of those that are not the client: see
	// pythonworkers.go.
	workerProcesses int
	workerPython    string
	checkpoint      time.Duration
	drain           bool
	// noFusion makes a stage of every transform; keyGroups is the number of
	// partitions of keyed input.
	noFusion  bool
	keyGroups int
	// streaming says that the user wants panes of bounded input, too.
	streaming bool
	// durability is the level that the user wants; nil is the server's.
	durability *Durability
}

// optionSpec describes an option that only this runner knows. Python's client
// sends such options only when the runner lists them.
type optionSpec struct {
	name, help string
	typ        jobpb.PipelineOptionType_Enum
	set        func(*jobOptions, *structpb.Value) error
}

const optionGroup = "gorunner"

// maxKeyGroups bounds what each writer of a keyed edge keeps open.
const maxKeyGroups = 4096

func optionSpecs() []optionSpec {
	return []optionSpec{
		sizeOption("gorunner_memory_bytes", "Bytes of data that the job keeps in memory before it uses the disk; 0 is what the server has.",
			func(o *jobOptions, n int64) { o.memory = n }),
		sizeOption("gorunner_disk_bytes", "Bytes of data that the job may have on disk; 0 is what the server may.",
			func(o *jobOptions, n int64) { o.disk = n }),
		countOption("gorunner_bundle_bytes", "Bytes of input that a bundle aims at; 0 is the default.",
			func(o *jobOptions, n int) { o.bundleBytes = n }),
		countOption("gorunner_bundle_attempts", "How often a bundle is tried before the job fails; 0 is the default, 4.",
			func(o *jobOptions, n int) { o.bundleAttempts = n }),
		countOption("gorunner_worker_restarts", "How many lost workers of an environment are replaced, within gorunner_worker_restart_window_s, before the job fails; 0 is the default, 8.",
			func(o *jobOptions, n int) { o.workerRestarts = n }),
		countOption("gorunner_worker_restart_window_s", "Seconds after which a lost worker is forgotten; 0 is the default, 600.",
			func(o *jobOptions, n int) { o.restartWindow = time.Duration(n) * time.Second }),
		parsedOption("gorunner_on_poison", "What becomes of elements that keep failing: fail ends the job, park puts them aside and goes on, which is meant for streaming; default fail.",
			func(o *jobOptions, v string) error {
				var err error
				o.park, err = parseOnPoison(v)
				return err
			}),
		countOption("gorunner_max_parked", "How many elements of a stage are put aside before the job fails; 0 is the default, 1000.",
			func(o *jobOptions, n int) { o.maxParked = n }),
		countOption("gorunner_worker_timeout_s", "Seconds that a worker may take to connect; 0 is the server's setting.",
			func(o *jobOptions, n int) { o.workerTimeout = time.Duration(n) * time.Second }),
		countOption("gorunner_checkpoint_ms", "Milliseconds that endless elements are executed before what they have yielded is passed on; 0 is the default, 100.",
			func(o *jobOptions, n int) { o.checkpoint = time.Duration(n) * time.Millisecond }),
		countOption("gorunner_key_groups", "Partitions of keyed input, the most bundles that it has at a time, up to 4096; 0 is the default, 64.",
			func(o *jobOptions, n int) { o.keyGroups = min(n, maxKeyGroups) }),
		countOption("gorunner_worker_processes", "Workers of Python that share the work of a client in LOOPBACK, itself included: the others are processes beside it; 0 is the server's setting.",
			func(o *jobOptions, n int) { o.workerProcesses = n }),
		stringOption("gorunner_worker_python", "Python interpreter of these processes; default the client's.",
			func(o *jobOptions, v string) { o.workerPython = v }),
		parsedOption("gorunner_durability", "What the job outlives: none, local (the server's end) or remote (the machine's); default, and at most, what the server offers.",
			func(o *jobOptions, v string) error {
				d, err := ParseDurability(v)
				o.durability = &d
				return err
			}),
		boolOption("gorunner_disable_fusion", "Make a stage of every transform, to find out which of them is slow or fails.",
			func(o *jobOptions, v bool) { o.noFusion = v }),
		boolOption("drain", "Drain the job from its start: unbounded sources are truncated before they are read, and the job ends.",
			func(o *jobOptions, v bool) { o.drain = v }),
	}
}

func countOption(name, help string, set func(*jobOptions, int)) optionSpec {
	return optionSpec{name, help, jobpb.PipelineOptionType_INTEGER, func(o *jobOptions, v *structpb.Value) error {
		n, ok, err := intOption(name, v, math.MaxInt32)
		if ok {
			set(o, int(n))
		}
		return err
	}}
}

// sizeMax is the largest size: what JSON's numbers can count.
const sizeMax = 1 << 53

func sizeOption(name, help string, set func(*jobOptions, int64)) optionSpec {
	return optionSpec{name, help, jobpb.PipelineOptionType_INTEGER, func(o *jobOptions, v *structpb.Value) error {
		n, ok, err := intOption(name, v, sizeMax)
		if ok {
			set(o, n)
		}
		return err
	}}
}

func boolOption(name, help string, set func(*jobOptions, bool)) optionSpec {
	return optionSpec{name, help, jobpb.PipelineOptionType_BOOLEAN, func(o *jobOptions, v *structpb.Value) error {
		switch v := v.GetKind().(type) {
		case *structpb.Value_BoolValue:
			set(o, v.BoolValue)
			return nil
		case *structpb.Value_StringValue:
			b, err := strconv.ParseBool(v.StringValue)
			if err != nil {
				return fmt.Errorf("runner: option %s: %q is neither true nor false", name, v.StringValue)
			}
			set(o, b)
			return nil
		case *structpb.Value_NullValue, nil:
			return nil
		}
		return fmt.Errorf("runner: option %s: %v is neither true nor false", name, v)
	}}
}

func stringOption(name, help string, set func(*jobOptions, string)) optionSpec {
	return parsedOption(name, help, func(o *jobOptions, v string) error {
		set(o, v)
		return nil
	})
}

func parsedOption(name, help string, set func(*jobOptions, string) error) optionSpec {
	return optionSpec{name, help, jobpb.PipelineOptionType_STRING, func(o *jobOptions, v *structpb.Value) error {
		switch v := v.GetKind().(type) {
		case *structpb.Value_StringValue:
			if err := set(o, v.StringValue); err != nil {
				return fmt.Errorf("runner: option %s: %w", name, err)
			}
			return nil
		case *structpb.Value_NullValue, nil:
			return nil
		}
		return fmt.Errorf("runner: option %s: %v is not a text", name, v)
	}}
}

// describeOptions lists the options for DescribePipelineOptions.
func describeOptions() []*jobpb.PipelineOptionDescriptor {
	var out []*jobpb.PipelineOptionDescriptor
	for _, s := range optionSpecs() {
		out = append(out, &jobpb.PipelineOptionDescriptor{
			Name:        s.name,
			Type:        s.typ,
			Description: s.help,
			Group:       optionGroup,
		})
	}
	return out
}

// goOptions is where the Go SDK puts what it does not know itself: the flags that
// the program defines.
const goOptions = "go_options"

// parseJobOptions reads the options of a job. Keys are URNs or, from older
// clients, bare names.
func parseJobOptions(s *structpb.Struct) (jobOptions, error) {
	var o jobOptions
	specs := optionSpecs()
	for key, value := range s.GetFields() {
		name := optionName(key)
		if name == "job_name" {
			o.name = value.GetStringValue()
			continue
		}
		if name == "streaming" { // which every SDK has
			if err := boolOption(name, "", func(o *jobOptions, v bool) { o.streaming = v }).set(&o, value); err != nil {
				return jobOptions{}, err
			}
			continue
		}
		if name == "sdk_worker_parallelism" {
			n, ok, err := intOption(name, value, math.MaxInt32)
			if err != nil {
				return jobOptions{}, err
			}
			if ok {
				workers := int(n)
				o.parallelism = &workers
			}
			continue
		}
		options := map[string]*structpb.Value{name: value}
		if name == goOptions {
			options = ownOptions(value)
		}
		for _, spec := range specs {
			if err := spec.set(&o, options[spec.name]); err != nil {
				return jobOptions{}, err
			}
		}
	}
	return o, nil
}

// ownOptions are those among the options of a Go program that can be meant for
// nobody but this runner.
func ownOptions(v *structpb.Value) map[string]*structpb.Value {
	own := make(map[string]*structpb.Value)
	for name, value := range v.GetStructValue().GetFields()["options"].GetStructValue().GetFields() {
		if strings.HasPrefix(name, optionGroup+"_") {
			own[name] = value
		}
	}
	return own
}

func optionName(key string) string {
	name := strings.TrimPrefix(key, "beam:option:")
	return strings.TrimSuffix(name, ":v1")
}

// intOption reads an integer of most at most, which Python sends as a string.
// ok is false for null.
func intOption(name string, v *structpb.Value, most int64) (n int64, ok bool, err error) {
	switch v := v.GetKind().(type) {
	case *structpb.Value_NumberValue:
		if v.NumberValue != math.Trunc(v.NumberValue) || v.NumberValue < 0 || v.NumberValue > float64(most) {
			return 0, false, fmt.Errorf("runner: option %s: %v is not a count", name, v.NumberValue)
		}
		return int64(v.NumberValue), true, nil
	case *structpb.Value_StringValue:
		n, err := strconv.ParseInt(v.StringValue, 10, 64)
		if err != nil || n < 0 || n > most {
			return 0, false, fmt.Errorf("runner: option %s: %q is not a count", name, v.StringValue)
		}
		return n, true, nil
	case *structpb.Value_NullValue, nil:
		return 0, false, nil
	}
	return 0, false, fmt.Errorf("runner: option %s: %v is not a count", name, v)
}

// workers is the number of workers of each environment. SDKs send 1 whether the
// user asked for it or not, so 1 leaves the choice to the server's setting.
func (o jobOptions) workers(server Options) int {
	n := server.Workers
	if o.parallelism != nil && *o.parallelism != 1 {
		n = *o.parallelism
		if n == 0 {
			n = runtime.GOMAXPROCS(0)
		}
	}
	return min(n, server.Limits.MaxWorkers)
}

// keeps is the durability of the job on a server that offers so much.
func (o jobOptions) keeps(server Durability) (Durability, error) {
	if o.durability == nil {
		return server, nil
	}
	if *o.durability > server {
		return None, fmt.Errorf("runner: option gorunner_durability: %v is more than this server offers, which is %v", *o.durability, server)
	}
	return *o.durability, nil
}

// parseOnPoison reads what becomes of elements that keep failing.
func parseOnPoison(v string) (park bool, err error) {
	switch v {
	case "fail":
		return false, nil
	case "park":
		return true, nil
	}
	return false, fmt.Errorf("%q is not what can become of an element: use fail or park", v)
}
