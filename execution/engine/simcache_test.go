package engine

import (
	"fmt"

	"github.com/gorunner/gorunner/element"
	"github.com/gorunner/gorunner/execution/harness"
	"github.com/gorunner/gorunner/plan"
)

// simCaches is what harnesses keep of user state, under the tokens that bundles
// had: a version of the state of each key group. A bundle that finds another
// version than was committed last would compute with state that is not true.
type simCaches struct {
	versions map[simGroup]int
	kept     map[simKept]int
	// hits counts the groups that bundles have found.
	hits int
}

type simGroup struct {
	stage plan.StageID
	group element.KeyGroup
}

type simKept struct {
	simGroup
	worker harness.WorkerID
	token  string
}

func newSimCaches() *simCaches {
	return &simCaches{versions: map[simGroup]int{}, kept: map[simKept]int{}}
}

// kept lists the groups of a running bundle, and under what each is kept.
func (s *sim) kept(id harness.BundleID) (kept []simKept) {
	o := &s.running[id].order
	for _, g := range s.sched.bundles[id].work.lease.Groups {
		kept = append(kept, simKept{simGroup{s.sched.bundles[id].stage.ID, g}, o.worker, o.stateCache})
	}
	return kept
}

// checkCaches checks that what the harness has kept is true.
func (s *sim) checkCaches(id harness.BundleID) error {
	for _, k := range s.kept(id) {
		if have, ok := s.caches.kept[k]; ok && k.token != "" {
			if have != s.caches.versions[k.simGroup] {
				return fmt.Errorf("worker %s has kept version %d of %+v under %s, which is at %d", k.worker, have, k.simGroup, k.token, s.caches.versions[k.simGroup])
			}
			s.caches.hits++
		}
	}
	return nil
}

// updateCaches lets the harness keep what the bundle has made of the state, whether it
// was committed or not.
func (s *sim) updateCaches(id harness.BundleID, committed bool) {
	for _, k := range s.kept(id) {
		if !committed {
			s.caches.kept[k] = -1
			continue
		}
		s.caches.versions[k.simGroup]++
		s.caches.kept[k] = s.caches.versions[k.simGroup]
	}
}
