package fnapi

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"

	fnpb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/fnexecution_v1"
	pipepb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/pipeline_v1"

	"github.com/gorunner/gorunner/execution/metrics"
)

// shortIDs is what one worker means by its short ids of monitoring infos. Other
// workers mean other things by them.
type shortIDs struct {
	limit int

	mu sync.Mutex
	// known is guarded by mu. An id is in it from the moment that somebody asks
	// for it, so that it is asked for once.
	known map[string]*shortID
}

// shortID is one id; its fields are set before ready is closed.
type shortID struct {
	ready chan struct{}
	// info has no payload. A zero one means that the harness would not tell.
	info metrics.Info
}

func newShortIDs(limit int) *shortIDs {
	return &shortIDs{limit: limit, known: make(map[string]*shortID)}
}

// infos returns the monitoring infos of an answer in full. Some harnesses send
// each of them both in full and under its short id, some only one of the two.
// The labels of the result are shared and must not be changed.
func (s *shortIDs) infos(ctx context.Context, w *Worker, full []*pipepb.MonitoringInfo, short []shortData) ([]metrics.Info, error) {
	if len(full) > 0 {
		infos := make([]metrics.Info, len(full))
		for i, m := range full {
			infos[i] = infoOf(m)
			infos[i].Payload = m.GetPayload()
		}
		return infos, nil
	}
	wanted, missing := s.want(short)
	if len(missing) > 0 {
		//nolint:contextcheck // the answer is for others too, see ask
		if err := w.track(func() { s.ask(w, missing) }); err != nil {
			return nil, err
		}
	}
	infos := make([]metrics.Info, 0, len(short))
	for i, id := range wanted {
		if id == nil {
			continue
		}
		if err := id.wait(ctx, w); err != nil {
			return nil, err
		}
		if id.info.URN == "" {
			continue
		}
		info := id.info
		info.Payload = short[i].payload
		infos = append(infos, info)
	}
	return infos, nil
}

// shortDataOf lists monitoring data in order of the short ids.
func shortDataOf(data map[string][]byte) []shortData {
	short := make([]shortData, 0, len(data))
	for _, id := range slices.Sorted(maps.Keys(data)) {
		short = append(short, shortData{[]byte(id), data[id]})
	}
	return short
}

// want looks ids up; missing are those that the caller must ask for. An id
// beyond the limit is nil.
func (s *shortIDs) want(short []shortData) (wanted []*shortID, missing []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	wanted = make([]*shortID, len(short))
	for i := range short {
		k, ok := s.known[string(short[i].id)]
		if !ok && len(s.known) < s.limit {
			id := string(short[i].id)
			k = &shortID{ready: make(chan struct{})}
			s.known[id] = k
			missing = append(missing, id)
		}
		wanted[i] = k
	}
	slices.Sort(missing)
	return wanted, missing
}

// wait waits until it is known what the id means.
func (id *shortID) wait(ctx context.Context, w *Worker) error {
	select {
	case <-id.ready:
		return nil
	default:
	}
	select {
	case <-id.ready:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-w.done:
		return w.Err()
	}
}

var errNoMetrics = errors.New("no answer in time")

// ask has the harness tell what the ids stand for. It is not bound to the bundle
// that needs them first, because others may come to wait for the same answer. A
// harness that cannot tell loses the metrics, not the bundle.
func (s *shortIDs) ask(w *Worker, ids []string) {
	ctx, cancel := context.WithTimeoutCause(context.Background(), w.opts.MetricsTimeout, errNoMetrics)
	defer cancel()
	resp, err := w.call(ctx, &fnpb.InstructionRequest{
		Request: &fnpb.InstructionRequest_MonitoringInfos{
			MonitoringInfos: &fnpb.MonitoringInfosMetadataRequest{MonitoringInfoId: ids},
		},
	})
	select {
	case <-w.done:
		return // those who wait see it too
	default:
	}
	told := resp.GetMonitoringInfos().GetMonitoringInfo()
	if err == nil && len(told) == 0 {
		err = fmt.Errorf("the harness answered with %T", resp.GetResponse())
	}
	if err != nil {
		w.log.Warn("metrics dropped: the harness does not say what their short ids stand for", "ids", len(ids), "error", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, id := range ids {
		k := s.known[id]
		if m := told[id]; m != nil {
			k.info = infoOf(m)
			k.info.Key = metrics.KeyOf(k.info.URN, k.info.Labels)
		}
		close(k.ready)
	}
}

// infoOf returns the info without its payload.
func infoOf(m *pipepb.MonitoringInfo) metrics.Info {
	return metrics.Info{URN: m.GetUrn(), Type: m.GetType(), Labels: m.GetLabels()}
}
