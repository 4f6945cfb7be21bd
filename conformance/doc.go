// Package conformance runs Beam's own test suites, and pipelines of our own,
// against the gorunner binary: a separate process, reached as any client
// reaches it.
//
// # What runs
//
// The environment variable GORUNNER_CONFORMANCE says how much:
//
//	none        nothing that needs a server
//	smoke       a part of Go and Python in about three minutes; the default
//	go          all suites of the Go SDK
//	python      all suites of the Python SDK
//	java        all suites of the Java SDK
//	typescript  all suites of the TypeScript SDK
//	all         everything
//	chaos       some suites, while the runner and its workers are killed
//
// GORUNNER_BIN names the binary (otherwise it is built), GORUNNER_PYTHON a
// Python that has the packages of python/requirements.txt (otherwise
// .venv/bin/python). GORUNNER_CONFORMANCE_COUNT says how often each suite runs: a
// test that does not end the same way each time has failed.
//
// GORUNNER_CONFORMANCE_PEER, which is prism or python, measures that runner of
// Beam's instead: its lists are in peers/PEER. GORUNNER_CONFORMANCE_ENDPOINT
// names a job service that already runs and is used instead of starting one.
// GORUNNER_CONFORMANCE_SERVE holds further flags of the servers that are started,
// such as --memory=64MiB, with which large data goes to disk, or
// --worker-processes=2.
//
// # Expected lists
//
// For each suite and mode the file expected/SUITE.MODE.txt says how every
// single test ends:
//
//	pass NAME
//	fail NAME reason
//	na NAME reason
//
// A test that ends otherwise, is missing in the list or is gone fails the run,
// and so does one that newly passes. Run the tests with GORUNNER_REWRITE=1 to
// write the lists anew, and look at the difference before it is committed. All
// outcomes are also written to out/conformance/SUITE.MODE.tsv, and the command
// report makes docs/conformance.md of them. Which suites and modes there are is
// said in suites.go, as data.
//
// # Chaos
//
// Under chaos the same tests are to end in the same way although every few seconds
// the runner, which is started again at once, or a worker, or both are killed.
// Clients reach the runner by a proxy, which waits for it: see chaos/jobproxy.
// GORUNNER_CONFORMANCE_SEED repeats the order of the deaths.
//
// # Parts
//
// gosuite is a module that pins Beam's tests of the Go SDK, the boot program
// and the peer. python holds the requirements, the pytest plugin and our
// pipelines in Python. pipelines is the program with our pipelines in Go.
package conformance
