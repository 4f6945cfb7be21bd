package environment

import (
	"os"
	"slices"
	"strconv"
	"strings"

	pipepb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/pipeline_v1"
)

// Variables with which Go's garbage collector is set.
const (
	variableGOGC       = "GOGC"
	variableGOMEMLIMIT = "GOMEMLIMIT"
)

// goSettings are the environment variables that make a worker in Go collect
// garbage less often: a harness makes a lot of it, and keeps little. The limit
// takes over where it does keep much. Those that given has are left alone; other
// workers get none.
func (o Options) goSettings(env *pipepb.Environment, given func(name string) bool) []string {
	isGo := slices.ContainsFunc(env.GetCapabilities(), func(urn string) bool {
		return strings.HasPrefix(urn, capabilitySDK+"go:")
	})
	if !isGo {
		return nil
	}
	var settings []string
	if o.GoGC > 0 && !given(variableGOGC) {
		settings = append(settings, variableGOGC+"="+strconv.Itoa(o.GoGC))
	}
	if o.GoMemory > 0 && !given(variableGOMEMLIMIT) {
		settings = append(settings, variableGOMEMLIMIT+"="+strconv.FormatInt(o.GoMemory, 10))
	}
	return settings
}

// inherited says whether this process' environment has the variable, which its
// workers then have, too.
func inherited(name string) bool {
	_, ok := os.LookupEnv(name)
	return ok
}
