//go:build linux

package main

import (
	"fmt"
	"path/filepath"
	"slices"

	"github.com/gorunner/gorunner/conformance/chaos"
)

// place is where the workers of a workload are.
type place int

const (
	// inClient is the client itself.
	inClient place = iota
	// byRunner are processes that the runner starts.
	byRunner
	// byClient are processes that the client starts.
	byClient
	// inPool are processes that a pool starts, which is a process of its own.
	inPool
)

// workload is a pipeline that is run.
type workload struct {
	name     string
	pipeline string
	inPython bool
	size     int
	workers  place
	options  []string
}

// victims are those that there are.
func (w *workload) victims(among []chaos.Victim) []chaos.Victim {
	return slices.DeleteFunc(slices.Clone(among), func(v chaos.Victim) bool { return w.workers == inClient && v == chaos.AWorker })
}

// budget is the memory of a job that has more data than that.
const budget = 4 << 20

func workloads() []workload {
	small := fmt.Sprint("--gorunner_memory_bytes=", budget)
	bundles := "--gorunner_bundle_bytes=20000"
	all := []workload{
		{pipeline: "wordcount", workers: byRunner, options: []string{bundles}},
		{pipeline: "gbk", size: 300_000, workers: byRunner, options: []string{small}},
		{pipeline: "gbk", size: 300_000, workers: inClient, options: []string{small}},
		{pipeline: "stateful", size: 60_000, workers: byRunner, options: []string{bundles}},
		{pipeline: "stateful", size: 60_000, workers: inClient, options: []string{small}},
		{pipeline: "sessions", size: 40_000, workers: byRunner, options: []string{bundles}},
		{pipeline: "sdf", size: 20_000, workers: byRunner},
		{pipeline: "sdf", size: 20_000, workers: inClient},
		{pipeline: "side", size: 30_000, workers: byRunner, options: []string{bundles}},
		{pipeline: "side", size: 60_000, workers: inClient, options: []string{small}},
		{pipeline: "streaming", size: 60_000, workers: byRunner},
		{pipeline: "streaming", size: 60_000, workers: inClient, options: []string{small}},

		{pipeline: "wordcount", inPython: true, workers: byClient},
		{pipeline: "gbk", inPython: true, size: 20_000, workers: byRunner, options: []string{small}},
		{pipeline: "gbk", inPython: true, size: 20_000, workers: byClient, options: []string{small}},
		{pipeline: "stateful", inPython: true, size: 5000, workers: byClient},
		{pipeline: "loops", inPython: true, size: 1, workers: inPool},
		{pipeline: "side", inPython: true, size: 5000, workers: byClient},
		{pipeline: "streaming", inPython: true, size: 15_000, workers: byClient},
		{pipeline: "streaming", inPython: true, size: 15_000, workers: inPool},
		{pipeline: "sessions", inPython: true, size: 5000, workers: inClient},
	}
	for i := range all {
		w := &all[i]
		sdk := "go"
		if w.inPython {
			sdk = "python"
		}
		w.name = fmt.Sprintf("%s-%s-%s", sdk, w.pipeline, [...]string{"loopback", "process", "processes", "pool"}[w.workers])
		if w.size == 0 {
			w.size = 1
		}
	}
	return all
}

// command is the client of a workload: the program and its arguments.
func (w *workload) command(t *tools, address, out, pool string) []string {
	args := []string{
		"--out=" + out, "--in=" + t.text, fmt.Sprint("--size=", w.size),
		"--gorunner_bundle_attempts=100", "--gorunner_worker_restarts=1000",
	}
	args = append(args, w.options...)
	if !w.inPython {
		args = append(args, "--pipeline="+w.pipeline, "--endpoint="+address)
		if w.workers == inClient {
			return append(append([]string{t.programs}, args...), "--environment_type=LOOPBACK")
		}
		config := fmt.Sprintf(`{"command":%q}`, t.boot)
		return append(append([]string{t.programs}, args...),
			"--environment_type=PROCESS", "--environment_config="+config, "--worker_binary="+t.programs)
	}
	command := append([]string{t.python, filepath.Join(t.root, "conformance/chaos/pipelines.py"), w.pipeline}, args...)
	command = append(command, "--runner=PortableRunner", "--job_endpoint="+address)
	switch w.workers {
	case inClient:
		return append(command, "--environment_type=LOOPBACK")
	case byClient:
		return append(command, "--environment_type=LOOPBACK", "--sdk_worker_parallelism=2", "--experiments=use_loopback_process_worker")
	case inPool:
		return append(command, "--environment_type=EXTERNAL", "--environment_config="+pool)
	case byRunner:
		config := fmt.Sprintf(`{"command":%q,"env":{"PYTHON":%q}}`, filepath.Join(t.root, "conformance/python/worker.sh"), t.python)
		return append(command, "--environment_type=PROCESS", "--environment_config="+config)
	}
	return command
}
