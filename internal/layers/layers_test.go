package layers

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"
)

// readRepository parses the module this test is part of.
func readRepository(t *testing.T) []source {
	t.Helper()
	sources, err := readModule(os.DirFS("../.."))
	if err != nil {
		t.Fatal(err)
	}
	const self = "internal/layers/layers_test.go"
	if !slices.ContainsFunc(sources, func(s source) bool { return s.name == self }) {
		t.Fatalf("%s is not among the %d files read: wrong directory?", self, len(sources))
	}
	return sources
}

func TestLayers(t *testing.T) {
	for _, violation := range checkImports(table(), readRepository(t)) {
		t.Error(violation)
	}
}

func TestFileLengths(t *testing.T) {
	for _, violation := range checkLengths(readRepository(t)) {
		t.Error(violation)
	}
}

func TestTable(t *testing.T) {
	for _, mistake := range checkTable(table()) {
		t.Error(mistake)
	}
}

// importing returns the text of a source file with the given imports.
func importing(imports ...string) string {
	var text strings.Builder
	text.WriteString("package p\n")
	for _, path := range imports {
		fmt.Fprintf(&text, "import _ %q\n", path)
	}
	return text.String()
}

// read parses a module given as text by file name.
func read(t *testing.T, files map[string]string) []source {
	t.Helper()
	fsys := fstest.MapFS{"go.mod": {}}
	for name, text := range files {
		fsys[name] = &fstest.MapFile{Data: []byte(text)}
	}
	sources, err := readModule(fsys)
	if err != nil {
		t.Fatal(err)
	}
	return sources
}

func TestCheckImports(t *testing.T) {
	const (
		model   = modelPath + "/pipeline_v1"
		beam    = goSDKPath + "/go/pkg/beam"
		grpc    = "google.golang.org/grpc/codes"
		rapid   = "pgregory.net/rapid"
		noProto = "only packages marked protos may import Beam's protos, gRPC and protobuf"
		noSDK   = "only packages marked goSDK may import the Go SDK"
	)
	tests := []struct {
		name    string
		file    string
		imports string
		want    string // why it is a violation; empty if it is none
	}{
		{"earlier layer", "plan/p.go", modulePath + "/coder", ""},
		{"later layer", "coder/c.go", modulePath + "/plan", "layer 2 must not know layer 3"},
		{"later layer from a test", "coder/c_test.go", modulePath + "/plan", "layer 2 must not know layer 3"},
		{"same layer", "shuffle/s.go", modulePath + "/state", "both are on layer 4"},
		{"same layer and row", "execution/trigger/t.go", modulePath + "/execution/windowing", "both are on layer 4"},
		{"same layer, excepted", "web/w.go", modulePath + "/runner", ""},
		{"same layer, the exception reversed", "runner/r.go", modulePath + "/web", "both are on layer 8"},
		{"same tree", "examples/a/a.go", modulePath + "/examples/b", ""},
		{"two trees", "examples/a/a.go", modulePath + "/bench", "both are on layer 9"},
		{"tree excepted", "bench/b.go", modulePath + "/sdks/go/gorunner", ""},
		{"helper", "element/e.go", modulePath + "/internal/clock", ""},
		{"helper importing the tree's exception", "internal/clock/c.go", modulePath + "/internal/invariants", ""},
		{"helper importing upward", "internal/clock/c.go", modulePath + "/element", "layer 0 must not know layer 1"},
		{"external test of its package", "coder/c_test.go", modulePath + "/coder", ""},
		{"unplaced import", "runner/r.go", modulePath + "/nowhere", "it has no place in the table of layers"},
		{"prefix of a name is not a parent", "runner/r.go", modulePath + "/runner/artifacts", "it has no place in the table of layers"},
		{"the module's root", "runner/r.go", modulePath, "it has no place in the table of layers"},

		{"protos where allowed", "translate/t.go", model, ""},
		{"protos", "plan/p.go", model, noProto},
		{"protos in a test", "plan/p_test.go", model, noProto},
		{"protos in the command", "cmd/gorunner/main.go", model, noProto},
		{"gRPC where allowed", "fnapi/environment/e.go", grpc, ""},
		{"gRPC", "execution/engine/e.go", grpc, noProto},
		{"protobuf", "shuffle/s.go", "google.golang.org/protobuf/encoding/protowire", noProto},
		{"Go SDK where allowed", "sdks/go/s.go", beam, ""},
		{"Go SDK in an example", "examples/wordcount/w.go", beam, ""},
		{"Go SDK in a package with protos", "translate/t.go", beam, noSDK},
		{"Go SDK in a test", "translate/t_test.go", beam, noSDK},
		{"Go SDK in the command", "cmd/gorunner/main.go", beam, noSDK},

		{"test library in a test", "plan/p_test.go", rapid, ""},
		{"test library in a package of test helpers", "internal/clocktest/c.go", rapid, ""},
		{"test library", "plan/p.go", rapid, "only tests may import a test library"},
		{"lock in a pure package", "plan/p.go", "sync/atomic", "a package marked pure reaches no lock, randomness or outside world"},
		{"lock in the test of a pure package", "plan/p_test.go", "sync/atomic", ""},
		{"lock", "shuffle/s.go", "sync/atomic", ""},
		{"standard library", "plan/p.go", "fmt", ""},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			got := checkImports(table(), read(t, map[string]string{test.file: importing(test.imports)}))
			var want []string
			if test.want != "" {
				want = []string{fmt.Sprintf("%s imports %s: %s", test.file, test.imports, test.want)}
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("violations (-want +got):\n%s", diff)
			}
		})
	}
}

func TestCheckImportsReportsUnplacedPackagesOnce(t *testing.T) {
	got := checkImports(table(), read(t, map[string]string{
		"root.go":            importing(),
		"stray/a.go":         importing(),
		"stray/b_test.go":    importing(),
		"plan/sub/p.go":      importing(),
		"plan/tagged.go":     "//go:build never\n\n" + importing(modulePath+"/runner"),
		"plan/testdata/x.go": "not Go",
		"tools/go.mod":       "module tools",
		"tools/t.go":         importing(modulePath + "/runner"),
		".cache/c.go":        "not Go",
	}))
	want := []string{
		"package plan/sub has no place in the table of layers",
		"plan/tagged.go imports " + modulePath + "/runner: layer 3 must not know layer 8",
		"package . has no place in the table of layers",
		"package stray has no place in the table of layers",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("violations (-want +got):\n%s", diff)
	}
}

func TestReadModuleFailsOnAFileThatIsNotGo(t *testing.T) {
	_, err := readModule(fstest.MapFS{"plan/p.go": {Data: []byte("import before package")}})
	if err == nil || !strings.Contains(err.Error(), "read plan/p.go") {
		t.Errorf("got error %v, want one that names the file", err)
	}
}

func TestCheckTable(t *testing.T) {
	got := checkTable([]layer{
		{{packages: "a b"}, {packages: "a"}},
		{{packages: "c", also: "b d"}, {packages: "e", also: "c"}},
	})
	want := []string{
		"a is placed twice",
		"c may also import b, which is not on its layer 1",
		"c may also import d, which is not on its layer 1",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("mistakes (-want +got):\n%s", diff)
	}
}

func TestCheckLengths(t *testing.T) {
	exact := "package p\n" + strings.Repeat("\n", maxFileLines-1)
	long := exact + "\n"
	got := checkLengths(read(t, map[string]string{
		"plan/exact.go":     exact,
		"plan/long.go":      long,
		"plan/long_test.go": long,
		"plan/made.go":      "// Code generated by stringer. DO NOT EDIT.\n\n" + long,
	}))
	want := []string{"plan/long.go has 501 lines, more than 500: split it by concept"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("violations (-want +got):\n%s", diff)
	}
}
