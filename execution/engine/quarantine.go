package engine

// quarantine is how an environment executes work that may have killed a worker: one
// after the other, on a worker that has nothing else.
type quarantine struct {
	waiting []*examination
	// worker gets no other bundles; nil if none is needed.
	worker *worker
}

// again lets work be tried again.
func (s *scheduler) again(st *stageState, w *work) {
	if w.under() && w.suspicion.lethal {
		st.env.quarantine.waiting = append(st.env.quarantine.waiting, &examination{st, w})
		st.examined++
		s.quarantined++
		return
	}
	st.retries = append(st.retries, w)
	st.mark()
}

// isolate starts what is in quarantine, if a worker is there and has nothing else. One
// that is chosen gets no more bundles until it has.
func (s *scheduler) isolate(env *environment) {
	q := &env.quarantine
	if q.worker != nil && q.worker.lost { // by what it was to finish before
		q.worker = nil
	}
	if len(q.waiting) == 0 || q.worker != nil && q.worker.used > 0 {
		return
	}
	if q.worker == nil {
		for _, w := range env.workers {
			if !w.lost && (q.worker == nil || w.used < q.worker.used) {
				q.worker = w
			}
		}
	}
	if q.worker == nil || q.worker.used > 0 {
		return
	}
	x := q.waiting[0]
	q.waiting = q.waiting[1:]
	x.stage.examined--
	s.quarantined--
	s.startOn(x.stage, x.work, q.worker)
	s.bundles[s.lastBundle].alone = true
}

// release ends the quarantine of a worker, if it is in one.
func (q *quarantine) release(w *worker) {
	if q.worker == w {
		q.worker = nil
	}
}
