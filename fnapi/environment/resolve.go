package environment

import (
	"errors"
	"fmt"
	"runtime"
	"strings"

	pipepb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/pipeline_v1"
	"google.golang.org/protobuf/proto"
)

// The kinds of environments.
const (
	URNExternal  = "beam:env:external:v1"
	URNProcess   = "beam:env:process:v1"
	URNContainer = "beam:env:docker:v1"
	URNAnyOf     = "beam:env:anyof:v1"
)

// maxAnyOfDepth bounds how deep alternatives may be nested, far beyond use.
const maxAnyOfDepth = 16

// preference lists the kinds of environments, those first that cost the least
// to start: a pool is running already, and a process needs no image.
func preference() []string { return []string{URNExternal, URNProcess, URNContainer} }

// location is a parsed environment. The set is closed: [external], [command],
// [container], [anyOf].
//
//sumtype:decl
type location interface {
	fmt.Stringer
	location()
}

// external is a worker pool.
type external struct {
	address string
	params  map[string]string
}

// command is a process of this machine.
type command struct {
	line string
	env  map[string]string
}

// container is a container image.
type container struct{ image string }

// anyOf is a list of alternatives.
type anyOf struct{ alternatives []*pipepb.Environment }

func (external) location()  {}
func (command) location()   {}
func (container) location() {}
func (anyOf) location()     {}

func (e external) String() string  { return "worker pool at " + e.address }
func (c command) String() string   { return "process " + c.line }
func (c container) String() string { return "container image " + c.image }

func (a anyOf) String() string { return a.describe(0) }

func (a anyOf) describe(depth int) string {
	if depth == maxAnyOfDepth {
		return "any of (...)"
	}
	names := make([]string, len(a.alternatives))
	for i, e := range a.alternatives {
		names[i] = describe(e, depth+1)
	}
	return "any of (" + strings.Join(names, "; ") + ")"
}

// Describe names an environment for messages.
func Describe(env *pipepb.Environment) string { return describe(env, 0) }

func describe(env *pipepb.Environment, depth int) string {
	where, err := parse(env)
	if err != nil {
		return fmt.Sprintf("environment %q", env.GetUrn())
	}
	if list, ok := where.(anyOf); ok {
		return list.describe(depth)
	}
	return where.String()
}

// Resolve chooses the environment to use: env itself, or, where env is a list
// of alternatives, the cheapest of them to start. available says which kinds,
// by URN, can be used; nil means all that this package knows. Capabilities and
// dependencies are those of the environment returned; those of a list mean
// nothing.
func Resolve(env *pipepb.Environment, available func(urn string) bool) (*pipepb.Environment, error) {
	if env.GetUrn() != URNAnyOf {
		if err := usable(env, available); err != nil {
			return nil, err
		}
		return env, nil
	}
	offered, err := flatten(env, 0)
	if err != nil {
		return nil, fmt.Errorf("resolve environment: %w", err)
	}
	for _, urn := range preference() {
		for _, e := range offered {
			if e.GetUrn() != urn || available != nil && !available(urn) {
				continue
			}
			if err := usable(e, available); err != nil {
				return nil, fmt.Errorf("resolve environment: %w", err)
			}
			return e, nil
		}
	}
	if len(offered) == 0 {
		return nil, errors.New("resolve environment: the list of alternatives is empty")
	}
	causes := make([]error, len(offered))
	for i, e := range offered {
		causes[i] = usable(e, available)
	}
	return nil, fmt.Errorf("resolve environment: none of the alternatives can be used:\n%w", errors.Join(causes...))
}

// usable says why env, which is no list, cannot be used.
func usable(env *pipepb.Environment, available func(urn string) bool) error {
	if _, err := parse(env); err != nil {
		return err
	}
	if available != nil && !available(env.GetUrn()) {
		return fmt.Errorf("environment %q is not available here: %s", env.GetUrn(), Describe(env))
	}
	return nil
}

// flatten lists the alternatives of env, those of nested lists included.
func flatten(env *pipepb.Environment, depth int) ([]*pipepb.Environment, error) {
	if depth == maxAnyOfDepth {
		return nil, fmt.Errorf("alternatives are nested more than %d deep", maxAnyOfDepth)
	}
	where, err := parse(env)
	if err != nil {
		return nil, err
	}
	list, ok := where.(anyOf)
	if !ok {
		return []*pipepb.Environment{env}, nil
	}
	var all []*pipepb.Environment
	for _, e := range list.alternatives {
		if e.GetUrn() != URNAnyOf {
			// Parsed only when chosen: an unknown alternative is no harm.
			all = append(all, e)
			continue
		}
		nested, err := flatten(e, depth+1)
		if err != nil {
			return nil, err
		}
		all = append(all, nested...)
	}
	return all, nil
}

func parse(env *pipepb.Environment) (location, error) {
	switch urn := env.GetUrn(); urn {
	case URNExternal:
		return parseExternal(env.GetPayload())
	case URNProcess:
		return parseCommand(env.GetPayload())
	case URNContainer:
		return parseContainer(env.GetPayload())
	case URNAnyOf:
		var list pipepb.AnyOfEnvironmentPayload
		if err := proto.Unmarshal(env.GetPayload(), &list); err != nil {
			return nil, fmt.Errorf("environment %q: parse payload: %w", urn, err)
		}
		return anyOf{alternatives: list.GetEnvironments()}, nil
	default:
		return nil, fmt.Errorf("environment %q is not supported; supported are %s and %s",
			urn, strings.Join(preference(), ", "), URNAnyOf)
	}
}

func parseExternal(payload []byte) (location, error) {
	var p pipepb.ExternalPayload
	if err := proto.Unmarshal(payload, &p); err != nil {
		return nil, fmt.Errorf("environment %q: parse payload: %w", URNExternal, err)
	}
	if p.GetEndpoint().GetUrl() == "" {
		return nil, fmt.Errorf("environment %q: the worker pool has no address", URNExternal)
	}
	if auth := p.GetEndpoint().GetAuthentication(); auth != nil {
		return nil, fmt.Errorf("environment %q: the worker pool at %s asks for authentication %q, which is not supported",
			URNExternal, p.GetEndpoint().GetUrl(), auth.GetUrn())
	}
	return external{address: p.GetEndpoint().GetUrl(), params: p.GetParams()}, nil
}

func parseCommand(payload []byte) (location, error) {
	var p pipepb.ProcessPayload
	if err := proto.Unmarshal(payload, &p); err != nil {
		return nil, fmt.Errorf("environment %q: parse payload: %w", URNProcess, err)
	}
	if strings.TrimSpace(p.GetCommand()) == "" {
		return nil, fmt.Errorf("environment %q: there is no command", URNProcess)
	}
	if p.GetOs() != "" && !strings.EqualFold(p.GetOs(), runtime.GOOS) ||
		p.GetArch() != "" && !strings.EqualFold(p.GetArch(), runtime.GOARCH) {
		return nil, fmt.Errorf("environment %q: command %q is for %s/%s, and this is %s/%s",
			URNProcess, p.GetCommand(), p.GetOs(), p.GetArch(), runtime.GOOS, runtime.GOARCH)
	}
	for name := range p.GetEnv() {
		if name == "" || strings.ContainsAny(name, "=\x00") {
			return nil, fmt.Errorf("environment %q: %q cannot be the name of an environment variable", URNProcess, name)
		}
	}
	return command{line: p.GetCommand(), env: p.GetEnv()}, nil
}

func parseContainer(payload []byte) (location, error) {
	var p pipepb.DockerPayload
	if err := proto.Unmarshal(payload, &p); err != nil {
		return nil, fmt.Errorf("environment %q: parse payload: %w", URNContainer, err)
	}
	image := p.GetContainerImage()
	if image == "" {
		return nil, fmt.Errorf("environment %q: there is no container image", URNContainer)
	}
	if strings.HasPrefix(image, "-") {
		// The engine would take it for one of its own arguments.
		return nil, fmt.Errorf("environment %q: %q cannot be the name of a container image", URNContainer, image)
	}
	return container{image: image}, nil
}
