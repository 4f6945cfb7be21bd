// Package runner is the server: Beam's Job API in front, the engine and the
// Fn API behind, and between them the life of each job.
//
//	Prepare   translate and refuse what cannot run; announce artifacts
//	staging   the client hands over artifacts (package artifact)
//	Run       a directory, an engine and workers of its own for the job
//	end       state, error and metrics are kept for a while; all else is freed
//
// A job has a preparation id until it runs and a different job id from then on:
// the streams of states and messages exist for job ids only, because Python's
// client puts a deadline on those it can open before Run.
//
// Concurrency: each running job has one goroutine that runs its engine and one
// that reports progress. A job's events go through its hub, which never waits
// for a reader. [Server] owns everything and leaves nothing behind when
// Shutdown returns.
//
// What jobs are made of is given by [Deps], so that tests run the server with
// other translators, engines and workers; [NewServer] connects the real ones.
package runner
