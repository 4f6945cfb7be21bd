package artifact

import (
	"errors"
	"fmt"
	"path"
	"strings"
	"sync"

	pipepb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/pipeline_v1"
	"google.golang.org/protobuf/proto"
)

// The artifact types a client can be asked for, and their common prefix.
const (
	typeFile     = "beam:artifact:type:file:v1"
	typeURL      = "beam:artifact:type:url:v1"
	typeEmbedded = "beam:artifact:type:embedded:v1"
)

// Token names the artifacts of one job.
type Token string

// Options are the limits of a [Service]; zero values stand for the defaults
// said with each.
type Options struct {
	// MaxArtifacts is the number of artifacts a job may have; default 10,000.
	MaxArtifacts int
	// MaxArtifactBytes is the size an artifact may have; default 8 GiB.
	MaxArtifactBytes int64
	// ChunkBytes is the size of the messages that workers get; default 1 MiB.
	ChunkBytes int
}

func (o Options) withDefaults() Options {
	if o.MaxArtifacts == 0 {
		o.MaxArtifacts = 10_000
	}
	if o.MaxArtifactBytes == 0 {
		o.MaxArtifactBytes = 8 << 30
	}
	if o.ChunkBytes == 0 {
		o.ChunkBytes = 1 << 20
	}
	return o
}

// Service is the server of Beam's artifact staging and retrieval.
type Service struct {
	store *Store
	opts  Options

	mu   sync.Mutex
	jobs map[Token]*job // guarded by mu
}

// NewService makes a service that keeps contents in store.
func NewService(store *Store, opts Options) *Service {
	return &Service{store: store, opts: opts.withDefaults(), jobs: make(map[Token]*job)}
}

// Set is the name of one list of artifacts of a job, such as those of an
// environment.
type Set string

// job is what a token stands for. Its fields are guarded by Service.mu.
type job struct {
	wanted  map[Set][]*pipepb.ArtifactInformation
	staging bool // a client is offering right now
	staged  map[Set][]*pipepb.ArtifactInformation
	held    map[Digest]int // references of this job
}

// ErrUnknownToken says that no job has the token.
var ErrUnknownToken = errors.New("artifact: unknown staging token")

// Expect announces the artifacts that will be staged under the token.
func (s *Service) Expect(token Token, sets map[Set][]*pipepb.ArtifactInformation) error {
	count := 0
	for _, list := range sets {
		count += len(list)
	}
	if count > s.opts.MaxArtifacts {
		return fmt.Errorf("artifact: job has %d artifacts, more than the %d allowed", count, s.opts.MaxArtifacts)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.jobs[token] != nil {
		return fmt.Errorf("artifact: token %s is in use", token)
	}
	j := &job{wanted: sets, held: make(map[Digest]int)}
	if count == 0 {
		j.staged = make(map[Set][]*pipepb.ArtifactInformation)
	}
	s.jobs[token] = j
	return nil
}

// Dependencies returns what workers are told of a set of the job. It fails
// when the client has not staged the job's artifacts.
func (s *Service) Dependencies(token Token, set Set) ([]*pipepb.ArtifactInformation, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	j := s.jobs[token]
	if j == nil {
		return nil, fmt.Errorf("%w: %s", ErrUnknownToken, token)
	}
	if j.staged == nil {
		return nil, fmt.Errorf("artifact: not staged: %s", describeAll(j.wanted))
	}
	return j.staged[set], nil
}

// Staged is an artifact of a job as it is kept for another process.
type Staged struct {
	Digest Digest
	// Info is what workers are told.
	Info *pipepb.ArtifactInformation
}

// Export returns what was staged for a job, so that another process can adopt it.
func (s *Service) Export(token Token) (map[Set][]Staged, error) {
	if err := s.Staged(token); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	out := make(map[Set][]Staged)
	for set, list := range s.jobs[token].staged {
		for _, a := range list {
			_, d, err := offer(a)
			if err != nil {
				return nil, err
			}
			out[set] = append(out[set], Staged{Digest: d, Info: a})
		}
	}
	return out, nil
}

// Adopt takes over a job of another process, whose artifacts are in the store.
func (s *Service) Adopt(token Token, sets map[Set][]Staged) error {
	j := &job{staged: make(map[Set][]*pipepb.ArtifactInformation), held: make(map[Digest]int)}
	for set, list := range sets {
		for _, a := range list {
			if err := s.store.Adopt(a.Digest); err != nil {
				return errors.Join(err, s.releaseAll(j.held))
			}
			j.held[a.Digest]++
			j.staged[set] = append(j.staged[set], a.Info)
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.jobs[token] != nil {
		return errors.Join(fmt.Errorf("artifact: token %s is in use", token), s.releaseAll(j.held))
	}
	s.jobs[token] = j
	return nil
}

// Staged fails when artifacts of the job are missing.
func (s *Service) Staged(token Token) error {
	_, err := s.Dependencies(token, "")
	return err
}

// Release frees what the token holds. Unknown tokens hold nothing.
func (s *Service) Release(token Token) error {
	s.mu.Lock()
	j := s.jobs[token]
	delete(s.jobs, token)
	var held map[Digest]int
	if j != nil {
		held, j.held = j.held, nil
	}
	s.mu.Unlock()
	return s.releaseAll(held)
}

func (s *Service) releaseAll(held map[Digest]int) error {
	var errs []error
	for d, n := range held {
		for range n {
			errs = append(errs, s.store.Release(d))
		}
	}
	return errors.Join(errs...)
}

// source is what is known of an artifact before it is fetched.
type source struct {
	name   string // for people
	base   string // file name that workers may use
	digest Digest // as announced; may be empty
	data   []byte // of an embedded artifact
}

// parseSource reads the type payload of an artifact. It refuses types that no
// client can be asked for.
func parseSource(a *pipepb.ArtifactInformation) (source, error) {
	switch a.GetTypeUrn() {
	case typeFile:
		var p pipepb.ArtifactFilePayload
		if err := proto.Unmarshal(a.GetTypePayload(), &p); err != nil {
			return source{}, fmt.Errorf("artifact: malformed payload of %s: %w", typeFile, err)
		}
		return newSource(p.GetPath(), p.GetSha256())
	case typeURL:
		var p pipepb.ArtifactUrlPayload
		if err := proto.Unmarshal(a.GetTypePayload(), &p); err != nil {
			return source{}, fmt.Errorf("artifact: malformed payload of %s: %w", typeURL, err)
		}
		return newSource(p.GetUrl(), p.GetSha256())
	case typeEmbedded:
		var p pipepb.EmbeddedFilePayload
		if err := proto.Unmarshal(a.GetTypePayload(), &p); err != nil {
			return source{}, fmt.Errorf("artifact: malformed payload of %s: %w", typeEmbedded, err)
		}
		return source{name: "embedded file", base: "embedded", data: p.GetData()}, nil
	}
	return source{}, fmt.Errorf("artifact: type %q is not supported", a.GetTypeUrn())
}

func newSource(name, sum string) (source, error) {
	base := path.Base(strings.ReplaceAll(name, `\`, "/"))
	if base == "." || base == "/" || base == ".." {
		base = "file"
	}
	src := source{name: name, base: base}
	if sum == "" {
		return src, nil
	}
	d, err := parseDigest(sum)
	if err != nil {
		return source{}, fmt.Errorf("%s: %w", name, err)
	}
	src.digest = d
	return src, nil
}

// describeAll lists artifacts for an error, at most a few of them.
func describeAll(sets map[Set][]*pipepb.ArtifactInformation) string {
	const most = 5
	var names []string
	total := 0
	for _, list := range sets {
		for _, a := range list {
			total++
			if len(names) < most {
				names = append(names, describe(a))
			}
		}
	}
	text := strings.Join(names, ", ")
	if total > most {
		text += fmt.Sprintf(" and %d more", total-most)
	}
	return text
}

func describe(a *pipepb.ArtifactInformation) string {
	src, err := parseSource(a)
	if err != nil {
		return a.GetTypeUrn()
	}
	return src.name
}

// locate finds the content that a worker asks for. Only what Dependencies told
// the workers of a living job is found.
func (s *Service) locate(a *pipepb.ArtifactInformation) (Digest, error) {
	token, sum, err := offer(a)
	if err != nil {
		return "", err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	j := s.jobs[token]
	if j == nil {
		return "", fmt.Errorf("%w: %s", ErrUnknownToken, token)
	}
	if j.held[sum] == 0 {
		return "", fmt.Errorf("artifact: content %s was not offered to workers of this job", sum)
	}
	return sum, nil
}

// offer reads what [offered] has written.
func offer(a *pipepb.ArtifactInformation) (Token, Digest, error) {
	if a.GetTypeUrn() != typeFile {
		return "", "", fmt.Errorf("artifact: type %q was not offered to workers", a.GetTypeUrn())
	}
	var p pipepb.ArtifactFilePayload
	if err := proto.Unmarshal(a.GetTypePayload(), &p); err != nil {
		return "", "", fmt.Errorf("artifact: malformed payload of %s: %w", typeFile, err)
	}
	token, rest, ok := strings.Cut(p.GetPath(), "/")
	sum, _, ok2 := strings.Cut(rest, "/")
	if !ok || !ok2 {
		return "", "", fmt.Errorf("artifact: path %q was not offered to workers", p.GetPath())
	}
	return Token(token), Digest(sum), nil
}

// offered is the artifact that workers are told in place of the client's.
func offered(token Token, d Digest, src source, a *pipepb.ArtifactInformation) (*pipepb.ArtifactInformation, error) {
	payload, err := proto.Marshal(&pipepb.ArtifactFilePayload{
		Path:   string(token) + "/" + string(d) + "/" + src.base,
		Sha256: string(d),
	})
	if err != nil {
		return nil, fmt.Errorf("artifact: offer %s: %w", src.name, err)
	}
	return &pipepb.ArtifactInformation{
		TypeUrn:     typeFile,
		TypePayload: payload,
		RoleUrn:     a.GetRoleUrn(),
		RolePayload: a.GetRolePayload(),
	}, nil
}
