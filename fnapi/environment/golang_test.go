package environment

import (
	"strings"
	"testing"

	pipepb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/pipeline_v1"
)

const capabilityGo = "beam:version:sdk_base:go:apache/beam_go_sdk:2.77.0"

func TestGoSettings(t *testing.T) {
	goEnv := &pipepb.Environment{Capabilities: []string{"x", capabilityGo}}
	for _, tt := range []struct {
		name  string
		opts  Options
		env   *pipepb.Environment
		given string
		want  string
	}{
		{"Go", Options{GoMemory: 100}, goEnv, "", "GOGC=400 GOMEMLIMIT=100"},
		{"Python", Options{GoMemory: 100}, &pipepb.Environment{Capabilities: []string{capabilityPython}}, "", ""},
		{"nobody knows", Options{GoMemory: 100}, &pipepb.Environment{}, "", ""},
		{"user's GOGC", Options{GoMemory: 100}, goEnv, "GOGC", "GOMEMLIMIT=100"},
		{"user's limit", Options{GoMemory: 100}, goEnv, "GOMEMLIMIT", "GOGC=400"},
		{"both off", Options{GoGC: -1, GoMemory: -1}, goEnv, "", ""},
		{"another", Options{GoGC: 50, GoMemory: -1}, goEnv, "", "GOGC=50"},
	} {
		got := tt.opts.withDefaults().goSettings(tt.env, func(name string) bool { return name == tt.given })
		if strings.Join(got, " ") != tt.want {
			t.Errorf("%s: %q, want %q", tt.name, got, tt.want)
		}
	}
}
