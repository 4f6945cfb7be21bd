package layers

// A row places packages on a layer and grants them what goes beyond importing
// the layers below.
type row struct {
	// packages lists import paths relative to the module, separated by spaces.
	// A path that ends in "/..." is a tree: that package and all below it that
	// no other row names. The packages of a tree may import one another.
	packages string
	// also lists packages or trees of the same layer that may be imported too.
	also string
	// protos allows Beam's model protos, gRPC and protobuf.
	protos bool
	// goSDK allows the Go SDK proper: everything of it but the model protos.
	goSDK bool
	// pure forbids what reaches locks, randomness and the outside world.
	pure bool
}

// A layer is a set of rows; its packages do not import one another.
type layer []row

// table lists the layers bottom-up; a package imports only layers before its own.
func table() []layer {
	return []layer{
		0: {
			{packages: "internal/invariants internal/layers"},
			{packages: "internal/...", also: "internal/invariants"},
		},
		1: {{packages: "element", pure: true}},
		2: {{packages: "coder", pure: true}},
		3: {{packages: "plan", pure: true}, {packages: "execution/metrics", pure: true}},
		4: {
			{packages: "execution/windowing execution/watermark execution/timer", pure: true},
			{packages: "execution/trigger", also: "execution/trigger/triggertest", pure: true},
			{packages: "execution/trigger/triggertest"},
			{packages: "execution/harness"},
			{packages: "shuffle"},
			{packages: "shuffle/segment", also: "shuffle shuffle/segment/segmenttest"},
			{packages: "shuffle/segment/segmenttest", also: "shuffle/segment"},
			{packages: "state", also: "state/statetest"},
			{packages: "state/statetest", also: "state"},
		},
		5: {
			{packages: "execution/group execution/timesort"},
			{packages: "execution/journal execution/checkpoint", pure: true},
			{packages: "state/pebblestore"},
		},
		6: {
			{packages: "execution/journal/jobdb"},
			{packages: "execution/engine", also: "execution/journal/jobdb"}, // which its tests run over
			{packages: "translate", protos: true},
			{packages: "fnapi", protos: true},
		},
		7: {
			{packages: "fnapi/environment", protos: true},
			{packages: "runner/artifact", protos: true},
			{packages: "runner/jobclient", protos: true},
			{packages: "runner/jobdir"},
			{packages: "runner/deadletter"},
			{packages: "translate/compat", protos: true},
			{packages: "blob", also: "blob/blobtest"},
			{packages: "blob/blobtest", also: "blob"},
			{packages: "blob/checkpoints", also: "blob blob/blobtest"},
		},
		8: {
			{packages: "runner", protos: true},
			{packages: "flink", protos: true},
			{packages: "web", also: "runner"},
		},
		9: {
			{packages: "cmd/..."},
			{packages: "sdks/go/...", goSDK: true},
			{packages: "conformance/...", also: "sdks/go/...", protos: true, goSDK: true},
			{packages: "bench/...", also: "sdks/go/...", goSDK: true},
			{packages: "examples/...", also: "sdks/go/...", goSDK: true},
		},
	}
}

const (
	modulePath = "github.com/gorunner/gorunner"
	goSDKPath  = "github.com/apache/beam/sdks/v2"
	modelPath  = goSDKPath + "/go/pkg/beam/model"
)

// protoPaths are the trees that only rows with protos may import.
func protoPaths() []string {
	return []string{
		modelPath,
		"google.golang.org/grpc",
		"google.golang.org/protobuf",
		"google.golang.org/genproto",
		"github.com/golang/protobuf",
	}
}

// impurePaths are the trees that rows with pure may not import. The package time
// is not among them, for its durations; the linter forbids its clock.
func impurePaths() []string {
	return []string{
		"context", "crypto/rand", "io/fs", "io/ioutil", "log", "math/rand",
		"net", "os", "runtime", "sync", "syscall", "unsafe",
	}
}

// testLibraryPaths are the trees that only tests, and packages of test helpers
// (their names end in "test"), may import.
func testLibraryPaths() []string {
	return []string{
		"github.com/cockroachdb/datadriven",
		"github.com/google/go-cmp",
		"go.uber.org/goleak",
		"pgregory.net/rapid",
	}
}
