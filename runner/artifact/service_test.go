package artifact

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	jobpb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/jobmanagement_v1"
	pipepb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/pipeline_v1"
	"go.uber.org/goleak"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	"google.golang.org/grpc/test/bufconn"
	"google.golang.org/protobuf/proto"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func digestOf(data string) Digest {
	sum := sha256.Sum256([]byte(data))
	return Digest(hex.EncodeToString(sum[:]))
}

func marshal(t *testing.T, m proto.Message) []byte {
	t.Helper()
	b, err := proto.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func fileArtifact(t *testing.T, path string, sum Digest, role string) *pipepb.ArtifactInformation {
	t.Helper()
	return &pipepb.ArtifactInformation{
		TypeUrn:     typeFile,
		TypePayload: marshal(t, &pipepb.ArtifactFilePayload{Path: path, Sha256: string(sum)}),
		RoleUrn:     role,
	}
}

// fixture is a service behind a connection.
type fixture struct {
	service *Service
	store   *Store
	dir     string
	conn    *grpc.ClientConn
}

func newFixture(t *testing.T, opts Options) *fixture {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "store")
	store, err := OpenStore(dir, true)
	if err != nil {
		t.Fatal(err)
	}
	f := &fixture{service: NewService(store, opts), store: store, dir: dir}
	l := bufconn.Listen(1 << 20)
	gs := grpc.NewServer()
	jobpb.RegisterArtifactStagingServiceServer(gs, f.service.Staging())
	jobpb.RegisterArtifactRetrievalServiceServer(gs, f.service.Retrieval())
	var wg sync.WaitGroup
	wg.Go(func() { _ = gs.Serve(l) })
	f.conn, err = grpc.NewClient("passthrough:///bufconn",
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return l.DialContext(ctx) }),
		grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		f.conn.Close()
		gs.Stop()
		wg.Wait()
	})
	return f
}

// client answers the server as an SDK does, from files by path.
type client struct {
	files    map[string]string
	replace  []*pipepb.ArtifactInformation // answer to resolve
	hangUpIn string                        // path in which to hang up
	asked    []string
}

// offer stages under the token and returns how the stream ended.
func (c *client) offer(ctx context.Context, conn *grpc.ClientConn, token Token) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stream, err := jobpb.NewArtifactStagingServiceClient(conn).ReverseArtifactRetrievalService(ctx)
	if err != nil {
		return err
	}
	if err := stream.Send(&jobpb.ArtifactResponseWrapper{StagingToken: string(token)}); err != nil {
		return err
	}
	for {
		in, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if in.GetResolveArtifact() != nil {
			c.asked = append(c.asked, "resolve")
			_ = stream.Send(&jobpb.ArtifactResponseWrapper{Response: &jobpb.ArtifactResponseWrapper_ResolveArtifactResponse{
				ResolveArtifactResponse: &jobpb.ResolveArtifactsResponse{Replacements: c.replace},
			}})
			continue
		}
		src, err := parseSource(in.GetGetArtifact().GetArtifact())
		if err != nil {
			return err
		}
		c.asked = append(c.asked, src.name)
		if src.name == c.hangUpIn {
			if err := stream.CloseSend(); err != nil {
				return err
			}
			continue
		}
		c.send(stream, c.files[src.name])
	}
}

// send streams a file in three pieces, the last one empty.
func (c *client) send(stream jobpb.ArtifactStagingService_ReverseArtifactRetrievalServiceClient, data string) {
	half := len(data) / 2
	for i, piece := range []string{data[:half], data[half:], ""} {
		_ = stream.Send(&jobpb.ArtifactResponseWrapper{
			IsLast: i == 2,
			Response: &jobpb.ArtifactResponseWrapper_GetArtifactResponse{
				GetArtifactResponse: &jobpb.GetArtifactResponse{Data: []byte(piece)},
			},
		})
	}
}

func get(ctx context.Context, conn *grpc.ClientConn, a *pipepb.ArtifactInformation) (string, error) {
	stream, err := jobpb.NewArtifactRetrievalServiceClient(conn).GetArtifact(ctx, &jobpb.GetArtifactRequest{Artifact: a})
	if err != nil {
		return "", err
	}
	var b bytes.Buffer
	for {
		in, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return b.String(), nil
		}
		if err != nil {
			return "", err
		}
		b.Write(in.GetData())
	}
}

// filesIn counts what lies in the store's directory.
func filesIn(t *testing.T, dir string) int {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	return len(entries)
}

func TestStageAndRetrieve(t *testing.T) {
	f := newFixture(t, Options{ChunkBytes: 3})
	ctx := t.Context()
	jar := "a jar of some bytes"
	files := map[string]string{"/home/me/lib.jar": jar, "/home/me/copy.jar": jar, "/x/empty": "", `C:\work\main.py`: "print()"}
	sets := map[Set][]*pipepb.ArtifactInformation{
		"java": {
			fileArtifact(t, "/home/me/lib.jar", digestOf(jar), "role:a"),
			fileArtifact(t, "/home/me/copy.jar", digestOf(jar), "role:b"),
			fileArtifact(t, "/x/empty", "", "role:c"),
		},
		"python": {
			fileArtifact(t, `C:\work\main.py`, "", "role:d"),
			{TypeUrn: typeEmbedded, TypePayload: marshal(t, &pipepb.EmbeddedFilePayload{Data: []byte("inline")}), RoleUrn: "role:e"},
		},
	}
	if err := f.service.Expect("job1", sets); err != nil {
		t.Fatal(err)
	}
	if _, err := f.service.Dependencies("job1", "java"); err == nil || !strings.Contains(err.Error(), "lib.jar") {
		t.Errorf("not yet staged: %v", err)
	}
	c := &client{files: files}
	if err := c.offer(ctx, f.conn, "job1"); err != nil {
		t.Fatal(err)
	}
	if got, want := strings.Join(c.asked, " "), `/home/me/lib.jar /x/empty C:\work\main.py`; got != want {
		t.Errorf("asked for %s, want %s: equal contents travel once", got, want)
	}
	want := map[Set][]struct{ base, role, data string }{
		"java":   {{"lib.jar", "role:a", jar}, {"copy.jar", "role:b", jar}, {"empty", "role:c", ""}},
		"python": {{"main.py", "role:d", "print()"}, {"embedded", "role:e", "inline"}},
	}
	for set, list := range want {
		deps, err := f.service.Dependencies("job1", set)
		if err != nil || len(deps) != len(list) {
			t.Fatalf("%s: %d dependencies, %v", set, len(deps), err)
		}
		for i, w := range list {
			src, err := parseSource(deps[i])
			if err != nil || src.base != w.base || deps[i].GetRoleUrn() != w.role || src.digest != digestOf(w.data) {
				t.Errorf("%s %d: %+v role %s, %v", set, i, src, deps[i].GetRoleUrn(), err)
			}
			deps[i].RoleUrn = "rewritten by the worker"
			if data, err := get(ctx, f.conn, deps[i]); err != nil || data != w.data {
				t.Errorf("%s %d: %q, %v", set, i, data, err)
			}
		}
	}
	if err := f.service.Release("job1"); err != nil {
		t.Fatal(err)
	}
	if n := filesIn(t, f.dir); n != 0 || f.store.Len() != 0 {
		t.Errorf("%d files left in the store", n)
	}
}

func TestContentsAreSharedByJobs(t *testing.T) {
	f := newFixture(t, Options{})
	ctx := t.Context()
	a := fileArtifact(t, "/a", digestOf("data"), "")
	for i, token := range []Token{"job1", "job2"} {
		if err := f.service.Expect(token, map[Set][]*pipepb.ArtifactInformation{"e": {a}}); err != nil {
			t.Fatal(err)
		}
		c := &client{files: map[string]string{"/a": "data"}}
		if err := c.offer(ctx, f.conn, token); err != nil {
			t.Fatal(err)
		}
		if want := 1 - i; len(c.asked) != want {
			t.Errorf("job %d: asked for %v", i+1, c.asked)
		}
	}
	deps, err := f.service.Dependencies("job1", "e")
	if err != nil {
		t.Fatal(err)
	}
	if err := f.service.Release("job1"); err != nil {
		t.Fatal(err)
	}
	if _, err := get(ctx, f.conn, deps[0]); status.Code(err) != codes.NotFound {
		t.Errorf("artifact of a released job: %v", err)
	}
	deps, err = f.service.Dependencies("job2", "e")
	if err != nil {
		t.Fatal(err)
	}
	if data, err := get(ctx, f.conn, deps[0]); err != nil || data != "data" {
		t.Errorf("%q, %v", data, err)
	}
}

func TestStagingFailures(t *testing.T) {
	other := &pipepb.ArtifactInformation{TypeUrn: "beam:artifact:type:maven:v1"}
	tests := []struct {
		name     string
		artifact *pipepb.ArtifactInformation
		client   client
		opts     Options
		code     codes.Code
		want     string
	}{
		{
			"wrong hash", fileArtifact(t, "/f", digestOf("right"), ""),
			client{files: map[string]string{"/f": "wrong"}},
			Options{},
			codes.InvalidArgument, "/f: artifact: content of 5 bytes has SHA-256 " + string(digestOf("wrong")),
		},
		{
			"hash that is none", fileArtifact(t, "/f", "abc", ""),
			client{},
			Options{},
			codes.InvalidArgument, `"abc" is not a SHA-256`,
		},
		{
			"missing: the client hangs up", fileArtifact(t, "/f", "", ""),
			client{hangUpIn: "/f"},
			Options{},
			codes.InvalidArgument, "client hung up within /f",
		},
		{
			"too large", fileArtifact(t, "/f", "", ""),
			client{files: map[string]string{"/f": "0123456789"}},
			Options{MaxArtifactBytes: 6},
			codes.ResourceExhausted, "/f is larger than the 6 bytes allowed",
		},
		{
			"unsupported type", other,
			client{replace: []*pipepb.ArtifactInformation{other}},
			Options{},
			codes.InvalidArgument, `type "beam:artifact:type:maven:v1" is not supported`,
		},
		{
			"garbled payload", &pipepb.ArtifactInformation{TypeUrn: typeFile, TypePayload: []byte{0xff}},
			client{},
			Options{},
			codes.InvalidArgument, "malformed payload of " + typeFile,
		},
		{
			"resolved to too many", other,
			client{replace: []*pipepb.ArtifactInformation{fileArtifact(t, "/a", "", ""), fileArtifact(t, "/b", "", "")}},
			Options{MaxArtifacts: 1},
			codes.ResourceExhausted, "2 artifacts, more than the 1 allowed",
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			f := newFixture(t, tt.opts)
			if err := f.service.Expect("job", map[Set][]*pipepb.ArtifactInformation{"e": {tt.artifact}}); err != nil {
				t.Fatal(err)
			}
			err := tt.client.offer(t.Context(), f.conn, "job")
			if status.Code(err) != tt.code || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("%v", err)
			}
			if f.service.Staged("job") == nil {
				t.Error("counts as staged")
			}
			if n := filesIn(t, f.dir); n != 0 || f.store.Len() != 0 {
				t.Errorf("%d files left in the store", n)
			}
			// The client may try again.
			if tt.name == "wrong hash" {
				again := client{files: map[string]string{"/f": "right"}}
				if err := again.offer(t.Context(), f.conn, "job"); err != nil {
					t.Errorf("second attempt: %v", err)
				}
			}
		})
	}
}

func TestResolve(t *testing.T) {
	f := newFixture(t, Options{})
	deferred := &pipepb.ArtifactInformation{TypeUrn: "beam:artifact:type:deferred:v1"}
	if err := f.service.Expect("job", map[Set][]*pipepb.ArtifactInformation{"e": {deferred}}); err != nil {
		t.Fatal(err)
	}
	c := &client{
		files:   map[string]string{"/found": "it"},
		replace: []*pipepb.ArtifactInformation{fileArtifact(t, "/found", "", "")},
	}
	if err := c.offer(t.Context(), f.conn, "job"); err != nil {
		t.Fatal(err)
	}
	deps, err := f.service.Dependencies("job", "e")
	if err != nil || len(deps) != 1 {
		t.Fatalf("%v, %v", deps, err)
	}
}

func TestTokens(t *testing.T) {
	f := newFixture(t, Options{MaxArtifacts: 1})
	ctx := t.Context()
	c := &client{}
	if err := c.offer(ctx, f.conn, "nobody"); status.Code(err) != codes.NotFound {
		t.Errorf("unknown token: %v", err)
	}
	if err := f.service.Expect("empty", nil); err != nil {
		t.Fatal(err)
	}
	if err := f.service.Expect("empty", nil); err == nil {
		t.Error("token given twice")
	}
	if err := f.service.Staged("empty"); err != nil {
		t.Errorf("job without artifacts: %v", err)
	}
	if err := c.offer(ctx, f.conn, "empty"); err != nil {
		t.Errorf("staging nothing: %v", err)
	}
	a := fileArtifact(t, "/a", "", "")
	if err := f.service.Expect("many", map[Set][]*pipepb.ArtifactInformation{"e": {a, a}}); err == nil {
		t.Error("too many artifacts accepted")
	}
	if err := f.service.Release("nobody"); err != nil {
		t.Errorf("release of an unknown token: %v", err)
	}
	if _, err := f.service.Dependencies("nobody", "e"); !errors.Is(err, ErrUnknownToken) {
		t.Errorf("%v", err)
	}
}

// TestHeadersComeFirst holds what TypeScript's client needs: headers even when
// there is nothing to stage.
func TestHeadersComeFirst(t *testing.T) {
	f := newFixture(t, Options{})
	if err := f.service.Expect("empty", nil); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	stream, err := jobpb.NewArtifactStagingServiceClient(f.conn).ReverseArtifactRetrievalService(ctx)
	if err != nil {
		t.Fatal(err)
	}
	// Nothing has been sent: only a server that does not wait answers now.
	if _, err := stream.Header(); err != nil {
		t.Fatal(err)
	}
	cancel()
	if _, err := stream.Recv(); status.Code(err) != codes.Canceled {
		t.Fatalf("%v", err)
	}
}

func TestWorkersGetOnlyWhatTheyWereTold(t *testing.T) {
	f := newFixture(t, Options{})
	secret := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(secret, []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := f.service.Expect("job", nil); err != nil {
		t.Fatal(err)
	}
	for _, p := range []string{secret, "", "job", "job/x", "job/../../secret/x", "job/" + string(digestOf("x")) + "/f", "other/x/y"} {
		if _, err := get(t.Context(), f.conn, fileArtifact(t, p, "", "")); status.Code(err) != codes.NotFound {
			t.Errorf("path %q: %v", p, err)
		}
	}
	url := &pipepb.ArtifactInformation{TypeUrn: typeURL}
	if _, err := get(t.Context(), f.conn, url); status.Code(err) != codes.NotFound {
		t.Errorf("url: %v", err)
	}
	garbled := &pipepb.ArtifactInformation{TypeUrn: typeFile, TypePayload: []byte{0xff}}
	if _, err := get(t.Context(), f.conn, garbled); status.Code(err) != codes.NotFound {
		t.Errorf("garbled: %v", err)
	}
}

// TestReleaseWhileStaging ends a job whose client is in the middle of a file.
func TestReleaseWhileStaging(t *testing.T) {
	f := newFixture(t, Options{})
	a, b := fileArtifact(t, "/a", "", ""), fileArtifact(t, "/b", "", "")
	if err := f.service.Expect("job", map[Set][]*pipepb.ArtifactInformation{"e": {a, b}}); err != nil {
		t.Fatal(err)
	}
	stream, err := jobpb.NewArtifactStagingServiceClient(f.conn).ReverseArtifactRetrievalService(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := stream.Send(&jobpb.ArtifactResponseWrapper{StagingToken: "job"}); err != nil {
		t.Fatal(err)
	}
	if _, err := stream.Recv(); err != nil {
		t.Fatal(err)
	}
	var c client
	if err := c.offer(t.Context(), f.conn, "job"); status.Code(err) != codes.FailedPrecondition {
		t.Errorf("second stream: %v", err)
	}
	if err := f.service.Release("job"); err != nil {
		t.Fatal(err)
	}
	c.send(stream, "data")
	if _, err := stream.Recv(); err != nil {
		t.Fatal(err)
	}
	c.send(stream, "more")
	if _, err := stream.Recv(); !errors.Is(err, io.EOF) {
		t.Fatalf("%v", err)
	}
	if n := filesIn(t, f.dir); n != 0 {
		t.Errorf("%d files left in the store", n)
	}
}

func FuzzParseSource(f *testing.F) {
	f.Add(typeFile, []byte{0xa, 1, 'x'})
	f.Add(typeEmbedded, []byte{0xa, 1, 'x'})
	f.Add(typeURL, []byte{0x12, 2, 'x', 'y'})
	f.Fuzz(func(t *testing.T, typ string, payload []byte) {
		src, err := parseSource(&pipepb.ArtifactInformation{TypeUrn: typ, TypePayload: payload})
		if err == nil && (src.base == "" || strings.ContainsAny(src.base, `/\`) || src.base == "..") {
			t.Fatalf("base name %q", src.base)
		}
	})
}
