package fnapi

import (
	fnpb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/fnexecution_v1"

	"github.com/gorunner/gorunner/execution/harness"
	"github.com/gorunner/gorunner/plan"
)

// cacheTokens says what the harness may keep of state that it has read, from
// this bundle to others with equal tokens. Harnesses key what they keep by the
// token and by the whole key of the state, with window and user key in it. One
// that cannot keep state ignores the tokens: Python's uses them without saying
// that it can.
func (w *Worker) cacheTokens(b *harness.Bundle) []*fnpb.ProcessBundleRequest_CacheToken {
	var tokens []*fnpb.ProcessBundleRequest_CacheToken
	if len(b.StateCache) > 0 {
		tokens = append(tokens, &fnpb.ProcessBundleRequest_CacheToken{
			Type: &fnpb.ProcessBundleRequest_CacheToken_UserState_{
				UserState: &fnpb.ProcessBundleRequest_CacheToken_UserState{},
			},
			Token: b.StateCache,
		})
	}
	for i, side := range b.Stage.SideInputs {
		if i >= len(b.ViewCaches) || !w.mayCache(side) {
			continue
		}
		tokens = append(tokens, &fnpb.ProcessBundleRequest_CacheToken{
			Type: &fnpb.ProcessBundleRequest_CacheToken_SideInput_{
				SideInput: &fnpb.ProcessBundleRequest_CacheToken_SideInput{
					TransformId: string(side.Transform), SideInputId: side.Tag,
				},
			},
			Token: b.ViewCaches[i],
		})
	}
	return tokens
}

// mayCache says whether the harness may be told the token of a side input. Go's
// has one current token of each side input for all its bundles, and would mix
// up versions of a view that are read at the same time. Of harnesses with
// several bundles at a time only those are trusted with changing tokens that
// announce that they cache.
func (w *Worker) mayCache(side plan.SideInput) bool {
	return side.View == 0 || w.slots == 1 || w.caches
}
