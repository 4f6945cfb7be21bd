// Command go writes the Go SDK's pipeline protos that the translator is tested
// with: for each pipeline the very message that the SDK's universal runner
// would send to Prepare, marshalled deterministically.
//
//	go run . [-out DIR] [name ...]
package main

import (
	"context"
	"flag"
	"fmt"
	"log"
	"os"
	"path/filepath"
	"slices"

	"github.com/apache/beam/sdks/v2/go/pkg/beam"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/core/runtime/graphx"
	_ "github.com/apache/beam/sdks/v2/go/pkg/beam/core/runtime/harness/init" // the remote execution hook
	pipepb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/pipeline_v1"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/options/resource"
)

// environment is how a pipeline's SDK harness is launched.
type environment struct {
	urn    string
	config string
	hints  resource.Hints
}

// loopback is what the SDK sends for --environment_type=LOOPBACK: an external
// worker pool, here at an address that stands for the client's own.
var loopback = environment{urn: "beam:env:external:v1", config: "localhost:50000"}

// pipeline is one entry of the corpus.
type pipeline struct {
	name  string
	build func(beam.Scope)
	// root, if set, replaces build: for builders that make their own pipeline.
	root func() *beam.Pipeline
	// env is the zero value for loopback.
	env environment
}

func main() {
	out := flag.String("out", filepath.Join("..", "..", "pipelines"), "directory to write go_<name>.pb into")
	flag.Parse()
	beam.Init()
	for _, p := range corpus() {
		if flag.NArg() > 0 && !slices.Contains(flag.Args(), p.name) {
			continue
		}
		if err := write(*out, p); err != nil {
			log.Fatalf("pipeline %s: %v", p.name, err)
		}
	}
}

func write(dir string, p pipeline) error {
	message, err := p.marshal()
	if err != nil {
		return err
	}
	data, err := deterministic.Marshal(message)
	if err != nil {
		return fmt.Errorf("encode: %w", err)
	}
	return os.WriteFile(filepath.Join(dir, "go_"+p.name+".pb"), data, 0o644)
}

// marshal does what universal.Execute does before it calls the job service.
func (p pipeline) marshal() (*pipepb.Pipeline, error) {
	var built *beam.Pipeline
	if p.root != nil {
		built = p.root()
	} else {
		var scope beam.Scope
		built, scope = beam.NewPipelineWithRoot()
		p.build(scope)
	}
	edges, _, err := built.Build()
	if err != nil {
		return nil, fmt.Errorf("build: %w", err)
	}
	env := p.env
	if env.urn == "" {
		env = loopback
	}
	config := func(context.Context) string { return env.config }
	environmentProto, err := graphx.CreateEnvironment(context.Background(), env.urn, config)
	if err != nil {
		return nil, fmt.Errorf("environment: %w", err)
	}
	message, err := graphx.Marshal(edges, &graphx.Options{
		Environment:           environmentProto,
		PipelineResourceHints: env.hints,
	})
	if err != nil {
		return nil, fmt.Errorf("marshal: %w", err)
	}
	if err := canonicalize(message); err != nil {
		return nil, fmt.Errorf("canonicalize: %w", err)
	}
	return message, nil
}
