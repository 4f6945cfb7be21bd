package conformance

import "slices"

// Suite is a body of tests, and the ways in which it runs.
type Suite struct {
	// Name begins the names of its lists.
	Name string
	// About is what it is, for readers.
	About string
	// Package is the Go package of a suite of the Go SDK, relative to the SDK.
	Package string
	// Tests select the tests of a suite of the Python SDK, as pytest takes them.
	Tests []string
	Modes []Mode
	// NotApplicable are tests that cannot run at all, each with its reason.
	NotApplicable map[string]string
}

// Mode is a way to run a suite. Its name is unique within the suite.
type Mode struct {
	Name string
	// Smoke says that it belongs to the smoke scope.
	Smoke       bool
	Environment Environment
	// Options are pipeline options, Tests select tests beside those of the suite.
	Options, Tests []string
	// NotApplicable are tests that cannot run in this mode.
	NotApplicable map[string]string
}

// notApplicable returns the tests of s that cannot run in mode m.
func (s Suite) notApplicable(m Mode) map[string]string {
	all := map[string]string{}
	for _, some := range []map[string]string{s.NotApplicable, m.NotApplicable} {
		for name, reason := range some {
			all[name] = reason
		}
	}
	return all
}

// Environment is where the workers of a mode are.
type Environment int

// The environments. In Loopback the client is the worker, in Loopback2 it
// starts two processes that are; in DropIn it also starts the server.
const (
	Loopback Environment = iota
	Loopback2
	Process
	Container
	DropIn
)

// modes returns modes that are named after their environment.
func modes(list ...Mode) []Mode {
	names := map[Environment]string{Loopback: "loopback", Loopback2: "workers", Process: "process", Container: "container", DropIn: "drop-in"}
	for i, m := range list {
		if m.Name == "" {
			list[i].Name = names[m.Environment]
		}
	}
	return list
}

// AllSuites returns all there are.
func AllSuites() []Suite {
	return slices.Concat(GoSuites(), PythonSuites(), JavaSuites(), TypeScriptSuites())
}

// GoSuites returns Beam's tests of the Go SDK.
func GoSuites() []Suite {
	suites := []Suite{
		{
			Name: "go-primitives", Package: "test/integration/primitives",
			About:         "Beam's integration tests of the model, none left out by a filter",
			Modes:         modes(Mode{}, Mode{Environment: Process}),
			NotApplicable: map[string]string{"TestOomParDo": "needs an upload of heap dumps"},
		},
		{
			Name: "go-wordcount", Package: "test/integration/wordcount", About: "the word count",
			Modes: modes(Mode{Smoke: true}, Mode{Smoke: true, Environment: Process}, Mode{Smoke: true, Environment: Container}),
		},
		{Name: "go-synthetic", Package: "test/integration/synthetic", About: "synthetic sources and steps", Modes: modes(Mode{Smoke: true})},
		{Name: "go-regression", Package: "test/regression", About: "regression tests", Modes: modes(Mode{Smoke: true})},
	}
	const print = "the test reads its own standard error, but in LOOPBACK the SDK's logger writes to the worker's log"
	for _, sdk := range []Suite{
		{Name: "go-beam", Package: "pkg/beam"},
		{Name: "go-passert", Package: "pkg/beam/testing/passert"},
		{Name: "go-stats", Package: "pkg/beam/transforms/stats"},
		{Name: "go-top", Package: "pkg/beam/transforms/top"},
		{Name: "go-filter", Package: "pkg/beam/transforms/filter"},
		{Name: "go-periodic", Package: "pkg/beam/transforms/periodic"},
		{Name: "go-batch", Package: "pkg/beam/transforms/batch"},
		{Name: "go-debug", Package: "pkg/beam/x/debug", NotApplicable: map[string]string{
			"TestPrint": print, "TestPrintf": print, "TestPrint_KV": print, "TestPrint_CoGBK": print,
		}},
	} {
		sdk.About, sdk.Modes = "the SDK's own tests of "+sdk.Package, modes(Mode{})
		suites = append(suites, sdk)
	}
	return suites
}

// validatesRunner returns the modules of Beam's Python SDK with tests that are
// marked as validating a runner.
func validatesRunner() []string {
	return []string{
		"apache_beam.pipeline_test",
		"apache_beam.transforms.combinefn_lifecycle_test",
		"apache_beam.transforms.deduplicate_test",
		"apache_beam.transforms.combiners_test",
		"apache_beam.transforms.dofn_lifecycle_test",
		"apache_beam.transforms.util_test",
		"apache_beam.transforms.sideinputs_test",
		"apache_beam.transforms.ptransform_test",
		"apache_beam.metrics.metric_test",
		"apache_beam.runners.portability.fn_api_runner.fn_runner_test",
		"apache_beam.runners.portability.fn_api_runner.translations_test",
	}
}

// PythonSuites returns Beam's tests of the Python SDK, and ours that pytest runs.
func PythonSuites() []Suite {
	packing := map[string]string{
		"Endpoint.test_pack_combiners": "asserts that the client has packed, which it is told not to",
	}
	otherProcess := map[string]string{
		"Endpoint.test_batch_rebatch_pardos": "looks for a warning within its own process",
	}
	portable := []string{"--runner=PortableRunner"}
	const untranslatable = "the client cannot express the timestamp combiner OUTPUT_AT_EARLIEST_TRANSFORMED"
	return []Suite{
		{
			Name: "python-fnapirunner", Tests: []string{"fn_api_runner_suite.py"},
			About: "Beam's tests of the Fn API, those for draining among them",
			Modes: modes(
				Mode{Name: "batch", Smoke: true},
				Mode{Name: "streaming", Options: []string{"--streaming"}},
				Mode{Name: "pre_optimize-none", Options: []string{"--experiments=pre_optimize=none"}, NotApplicable: packing},
				Mode{Name: "pre_optimize-expand_sdf", Options: []string{"--experiments=pre_optimize=expand_sdf"}, NotApplicable: packing},
				Mode{Name: "pre_optimize-all", Options: []string{"--experiments=pre_optimize=all"}},
				Mode{Environment: Loopback2, NotApplicable: otherProcess},
				Mode{Environment: Process, NotApplicable: otherProcess},
			),
		},
		{
			Name: "python-validatesrunner", Tests: append([]string{"--pyargs"}, validatesRunner()...),
			About: "what Beam marks as validating a runner",
			Modes: []Mode{
				{Name: "batch", Options: portable, Tests: []string{"-m", "it_validatesrunner and not no_sickbay_batch"}},
				{
					Name: "streaming", Options: append(slices.Clone(portable), "--streaming"),
					Tests: []string{"-m", "it_validatesrunner and not no_sickbay_streaming"},
				},
			},
		},
		{
			Name: "python-transcripts", About: "transcripts of windows, triggers and panes, in any order and in the exact one",
			Tests: []string{"--tb=native", "--pyargs", "apache_beam.transforms.trigger_test", "-k", "StreamTranscript"},
			Modes: modes(Mode{Options: portable}),
			NotApplicable: map[string]string{
				"TestStreamTranscriptTest.test_timestamp_combiner_custom_timestamping_earliest_1":     untranslatable,
				"WeakTestStreamTranscriptTest.test_timestamp_combiner_custom_timestamping_earliest_1": untranslatable,
			},
		},
		{
			Name: "python-prism", Tests: []string{"prism_suite.py"},
			About: "Beam's tests of its runner Prism, with the server in its place",
			Modes: modes(Mode{Environment: DropIn}),
		},
		{
			Name: "python-model", Tests: []string{"model_suite.py"},
			About: "points of the model that runners get wrong",
			Modes: modes(Mode{}, Mode{Environment: Loopback2}),
		},
		{
			Name: "python-odd", Tests: []string{"odd_suite.py"},
			About: "pipelines at the edges: nothing, too much of it, odd names, errors",
			Modes: modes(Mode{}, Mode{Environment: Loopback2}),
		},
		{
			Name: "python-windows", Tests: []string{"custom_windows_suite.py"},
			About: "windows with a coder and a way to merge of the user's own, compared with the classic direct runner",
			Modes: modes(Mode{}),
		},
	}
}

// JavaSuites returns the tests of the Java SDK. Those of Beam's archive of tests
// run in versions that can be had: see java/pom.xml.
func JavaSuites() []Suite {
	return []Suite{
		{
			Name: "java-programs", About: "our own programs in Java",
			Modes: modes(Mode{}, Mode{Environment: Process}),
		},
		{
			Name: "java-validatesrunner", About: "what Beam's Java SDK 2.73.0 marks as validating a runner",
			Modes: modes(Mode{}),
			NotApplicable: map[string]string{
				"ValidateRunnerXlangTest":   "needs expansion services of other languages",
				"SdkHarnessEnvironmentTest": "tests the container of Beam's Java SDK",
				"MetricsTest$CommittedMetricTests": "the client takes what is attempted and what is committed for two metrics," +
					" and of the former it knows no committed value",
				"ParDoTest$TimestampTests.testProcessElementSkew": "asserts an error that this version of the harness does not raise",
			},
		},
	}
}

// TypeScriptSuites returns the tests of the TypeScript SDK.
func TypeScriptSuites() []Suite {
	return []Suite{
		{Name: "typescript-programs", About: "our own programs in TypeScript", Modes: modes(Mode{})},
		{
			Name: "typescript-beam", About: "Beam's own tests of pipelines in TypeScript", Modes: modes(Mode{}),
			NotApplicable: map[string]string{
				"liquid_sharding_handles_splitting": "asks Python's job server, by an option of its own, to split a bundle at given moments",
			},
		},
	}
}
