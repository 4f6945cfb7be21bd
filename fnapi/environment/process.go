package environment

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	pipepb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/pipeline_v1"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/gorunner/gorunner/execution/harness"
)

// workerDirs are the directories of one worker. Boot programs write into their
// working directory and stage artifacts below the semi-persistent one, under
// names that do not depend on the worker.
type workerDirs struct {
	root string
	// work is the working directory, semi the semi-persistent one.
	work, semi string
	// options is the file with the pipeline's options.
	options string
}

func makeWorkerDirs(parent string, id harness.WorkerID, options *structpb.Struct) (workerDirs, error) {
	if parent == "" {
		return workerDirs{}, errors.New("there is no directory for the worker's own")
	}
	parent, err := filepath.Abs(parent)
	if err != nil {
		return workerDirs{}, err
	}
	root, err := os.MkdirTemp(parent, workerDirPrefix+fileName(id)+"-*")
	if err != nil {
		return workerDirs{}, fmt.Errorf("make the worker's directory: %w", err)
	}
	d := workerDirs{
		root:    root,
		work:    filepath.Join(root, "work"),
		semi:    filepath.Join(root, "semi"),
		options: filepath.Join(root, "options.json"),
	}
	if err := d.fill(options); err != nil {
		return workerDirs{}, errors.Join(fmt.Errorf("make the worker's directory: %w", err), d.remove())
	}
	return d, nil
}

func (d workerDirs) fill(options *structpb.Struct) error {
	for _, dir := range []string{d.work, d.semi} {
		if err := os.Mkdir(dir, 0o700); err != nil {
			return err
		}
	}
	if options == nil {
		options = &structpb.Struct{}
	}
	data, err := protojson.Marshal(options)
	if err != nil {
		return fmt.Errorf("pipeline options: %w", err)
	}
	return os.WriteFile(d.options, data, 0o600)
}

func (d workerDirs) remove() error { return os.RemoveAll(d.root) }

// maxFileName bounds the part of a worker's id that becomes part of a name.
const maxFileName = 64

// fileName makes an id a part of a file's or a container's name.
func fileName(id harness.WorkerID) string {
	name := strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z', r >= 'A' && r <= 'Z', r >= '0' && r <= '9', r == '-', r == '_':
			return r
		default:
			return '_'
		}
	}, string(id))
	return name[:min(len(name), maxFileName)]
}

func (l *Launcher) startCommand(ctx context.Context, launch Launch, where command) (Process, error) {
	path, args, err := program(where.line)
	if err != nil {
		return nil, err
	}
	dirs, err := makeWorkerDirs(launch.Dir, launch.WorkerID, launch.Options)
	if err != nil {
		return nil, err
	}
	token := rand.Text()
	unrecord, err := writeRecord(launch, record{Token: token})
	if err != nil {
		return nil, errors.Join(err, dirs.remove())
	}
	cmd := exec.Command(path, append(args, bootFlags(launch, dirs.semi)...)...)
	cmd.Dir = dirs.work
	cmd.Env = slices.Concat(os.Environ(), bootEnvironment(launch, dirs))
	for name, value := range where.env {
		cmd.Env = append(cmd.Env, name+"="+value)
	}
	cmd.Env = append(cmd.Env, l.options.goSettings(launch.Environment, func(name string) bool {
		_, ok := where.env[name]
		return ok || inherited(name)
	})...)
	cmd.Env = append(cmd.Env, tokenVariable+"="+token)
	c, err := startChild(ctx, childParams{
		launch:  launch,
		options: l.options,
		command: where.String(),
		cmd:     cmd,
		token:   token,
		guard:   func() (*guard, error) { return guardProcess(token, l.options.StopGrace, dirs.root) },
		cleanup: func(context.Context) error { return errors.Join(dirs.remove(), unrecord()) },
	})
	if err != nil {
		return nil, errors.Join(err, dirs.remove(), unrecord())
	}
	return c, nil
}

// bootEnvironment are the variables that boot programs set for the SDK
// harnesses they start. With them, a harness can be the command itself.
func bootEnvironment(launch Launch, dirs workerDirs) []string {
	env := []string{
		"WORKER_ID=" + string(launch.WorkerID),
		"HARNESS_ID=" + string(launch.WorkerID),
		"SEMI_PERSISTENT_DIRECTORY=" + dirs.semi,
		"PIPELINE_OPTIONS_FILE=" + dirs.options,
		"RUNNER_CAPABILITIES=" + strings.Join(launch.Capabilities, " "),
	}
	for _, e := range []struct{ name, address string }{
		{"LOGGING_API_SERVICE_DESCRIPTOR", launch.Endpoints.Logging},
		{"CONTROL_API_SERVICE_DESCRIPTOR", launch.Endpoints.Control},
		{"STATUS_API_SERVICE_DESCRIPTOR", launch.Endpoints.Status},
	} {
		if e.address != "" {
			// Harnesses parse it as a proto in text form.
			env = append(env, e.name+"="+(&pipepb.ApiServiceDescriptor{Url: e.address}).String())
		}
	}
	if launch.Endpoints.Status != "" {
		env = append(env, "STATUS_ENDPOINT="+launch.Endpoints.Status)
	}
	return env
}
