package translate

import (
	"slices"
	"strings"

	pipepb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/pipeline_v1"
	"google.golang.org/protobuf/proto"
)

// capable says whether the environment has a capability.
func capable(env *pipepb.Environment, urn string) bool {
	return everyChoice(env, 0, func(e *pipepb.Environment) bool {
		return slices.Contains(e.GetCapabilities(), urn)
	})
}

// mergesWindows says whether the environment's SDK merges windows for a
// runner. Java's and Python's do and have no capability for it; another would
// have to say so.
func mergesWindows(env *pipepb.Environment) bool {
	return everyChoice(env, 0, func(e *pipepb.Environment) bool {
		return slices.Contains(e.GetCapabilities(), urnMergeWindow) || isSDK(e, "java") || isSDK(e, "python")
	})
}

// isSDK says whether the environment names the SDK of that language as its
// base, as in beam:version:sdk_base:apache/beam_java17_sdk:2.77.0.
func isSDK(env *pipepb.Environment, language string) bool {
	return slices.ContainsFunc(env.GetCapabilities(), func(c string) bool {
		base, ok := strings.CutPrefix(c, "beam:version:sdk_base:")
		return ok && strings.Contains(base, "beam_"+language)
	})
}

// everyChoice says whether the environment is of some kind, and where it is a
// choice, each of the alternatives: the choice falls later, and the outer
// environment says nothing of it.
func everyChoice(env *pipepb.Environment, depth int, is func(*pipepb.Environment) bool) bool {
	if env.GetUrn() != urnEnvAnyOf {
		return is(env)
	}
	const deepest = 8
	var choice pipepb.AnyOfEnvironmentPayload
	if err := proto.Unmarshal(env.GetPayload(), &choice); err != nil ||
		len(choice.GetEnvironments()) == 0 || depth > deepest {
		return false
	}
	for _, alternative := range choice.GetEnvironments() {
		if !everyChoice(alternative, depth+1, is) {
			return false
		}
	}
	return true
}
