package environment

import (
	"strings"
	"testing"

	pipepb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/pipeline_v1"
	"google.golang.org/protobuf/proto"
)

func TestResolve(t *testing.T) {
	ext := externalEnv(t, "localhost:1")
	ext.Capabilities = []string{"of the pool"}
	process := processEnv(t, "/boot", nil)
	process.Dependencies = []*pipepb.ArtifactInformation{{TypeUrn: "of the process"}}
	image := containerEnv(t, "beam:1")
	unknown := &pipepb.Environment{Urn: "beam:env:moon:v1"}
	deep := ext
	for range maxAnyOfDepth + 1 {
		deep = anyOfEnv(t, deep)
	}
	only := func(urns ...string) func(string) bool {
		return func(urn string) bool { return strings.Contains(strings.Join(urns, " "), urn) }
	}
	for _, test := range []struct {
		name      string
		env       *pipepb.Environment
		available func(string) bool
		want      *pipepb.Environment
		err       []string
	}{
		{name: "single", env: process, want: process},
		{name: "pool first", env: anyOfEnv(t, image, process, ext), want: ext},
		{name: "process before container", env: anyOfEnv(t, image, unknown, process), want: process},
		{name: "container last", env: anyOfEnv(t, unknown, image), want: image},
		{name: "nested", env: anyOfEnv(t, image, anyOfEnv(t, process, anyOfEnv(t, ext))), want: ext},
		{name: "first of a kind", env: anyOfEnv(t, process, processEnv(t, "/other", nil)), want: process},
		{name: "not available", env: anyOfEnv(t, process, image), available: only(URNContainer), want: image},
		{name: "single not available", env: image, available: only(URNProcess), err: []string{URNContainer, "beam:1", "not available"}},
		{
			name: "none available", env: anyOfEnv(t, process, image, unknown), available: only(URNExternal),
			err: []string{"/boot", "beam:1", "beam:env:moon:v1", "not available", "not supported"},
		},
		{name: "unknown", env: unknown, err: []string{`"beam:env:moon:v1" is not supported`, URNExternal, URNAnyOf}},
		{name: "nil", env: nil, err: []string{`""`, "not supported"}},
		{name: "empty list", env: anyOfEnv(t), err: []string{"empty"}},
		{name: "too deep", env: deep, err: []string{"nested more than 16"}},
		{name: "truncated list", env: &pipepb.Environment{Urn: URNAnyOf, Payload: []byte{0x0a, 9}}, err: []string{URNAnyOf, "payload"}},
		{name: "truncated pool", env: &pipepb.Environment{Urn: URNExternal, Payload: []byte{0x0a, 9}}, err: []string{URNExternal, "payload"}},
		{name: "truncated process", env: &pipepb.Environment{Urn: URNProcess, Payload: []byte{0x0a, 9}}, err: []string{URNProcess, "payload"}},
		{name: "truncated container", env: &pipepb.Environment{Urn: URNContainer, Payload: []byte{0x0a, 9}}, err: []string{URNContainer, "payload"}},
		{name: "chosen one is bad", env: anyOfEnv(t, image, processEnv(t, " ", nil)), err: []string{"no command"}},
		{name: "no address", env: externalEnv(t, ""), err: []string{"no address"}},
		{name: "no image", env: containerEnv(t, ""), err: []string{"no container image"}},
		{name: "image like a flag", env: containerEnv(t, "--privileged"), err: []string{"--privileged"}},
		{
			name: "another system", env: environment(t, URNProcess, &pipepb.ProcessPayload{Command: "x", Os: "plan9", Arch: "mips"}),
			err: []string{"plan9/mips"},
		},
		{name: "bad variable", env: processEnv(t, "x", map[string]string{"A=B": "c"}), err: []string{`"A=B"`}},
		{
			name: "authentication", env: environment(t, URNExternal, &pipepb.ExternalPayload{Endpoint: &pipepb.ApiServiceDescriptor{
				Url: "h:1", Authentication: &pipepb.AuthenticationSpec{Urn: "oauth"},
			}}),
			err: []string{"oauth", "not supported"},
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			got, err := Resolve(test.env, test.available)
			if len(test.err) == 0 {
				if err != nil || !proto.Equal(got, test.want) {
					t.Fatalf("Resolve = %v, %v; want %v", got, err, test.want)
				}
				return
			}
			if err == nil {
				t.Fatalf("Resolve = %v, want an error", got)
			}
			for _, part := range test.err {
				if !strings.Contains(err.Error(), part) {
					t.Errorf("Resolve: error %q does not say %q", err, part)
				}
			}
		})
	}
}

func TestDescribe(t *testing.T) {
	deep := containerEnv(t, "deep")
	for range maxAnyOfDepth + 2 {
		deep = anyOfEnv(t, deep)
	}
	for want, env := range map[string]*pipepb.Environment{
		"worker pool at h:1":               externalEnv(t, "h:1"),
		"process /a boot":                  processEnv(t, "/a boot", nil),
		"container image x:1":              containerEnv(t, "x:1"),
		`environment "moon"`:               {Urn: "moon"},
		`environment "` + URNProcess + `"`: {Urn: URNProcess, Payload: []byte{0x0a, 9}},
		"any of (worker pool at h:1; any of (container image x:1))": anyOfEnv(t,
			externalEnv(t, "h:1"), anyOfEnv(t, containerEnv(t, "x:1"))),
		strings.Repeat("any of (", maxAnyOfDepth+1) + "..." + strings.Repeat(")", maxAnyOfDepth+1): deep,
	} {
		if got := Describe(env); got != want {
			t.Errorf("Describe = %q, want %q", got, want)
		}
	}
}

func FuzzResolve(f *testing.F) {
	f.Add(URNExternal, []byte{0x0a, 3, 0x0a, 1, 'h'})
	f.Add(URNProcess, []byte{0x1a, 1, 'x'})
	f.Add(URNContainer, []byte{0x0a, 1, 'x'})
	f.Add(URNAnyOf, []byte{0x0a, 0})
	f.Fuzz(func(t *testing.T, urn string, payload []byte) {
		env := &pipepb.Environment{Urn: urn, Payload: payload}
		if Describe(env) == "" {
			t.Error("an environment without a description")
		}
		got, err := Resolve(env, nil)
		if err != nil {
			return
		}
		if where, err := parse(got); err != nil {
			t.Errorf("Resolve chose what cannot be parsed: %v", err)
		} else if _, list := where.(anyOf); list {
			t.Error("Resolve chose a list")
		}
	})
}
