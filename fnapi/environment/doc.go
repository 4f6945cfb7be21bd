// Package environment launches and stops the workers of an environment: the
// SDK harnesses that execute a job's user code.
//
// An environment says where its workers live:
//
//   - external: a worker pool that somebody else runs (in loopback, the user's
//     own program) is asked to start and stop workers;
//   - process: a command on this machine;
//   - container: a container image, run by a configurable engine.
//
// [Resolve] chooses between alternatives, [Launcher.Start] starts one worker
// and returns its [Process]. A Process is only the thing that runs; that a
// worker has connected, and that it hangs up, is seen by the servers that its
// [Endpoints] name. They must know the worker before it is started: a pool may
// call them before it answers.
//
// # What is left behind
//
// Nothing. When Done of a Process is closed, its operating system processes
// have ended, those that moved to process groups of their own included, and
// its directories are removed. A guard process per worker does the same when
// this process dies without having stopped its workers. (The kernel's signal
// on the parent's death is no help: it is tied to the parent's thread, and Go
// ends threads while the process lives.)
//
//	launcher := environment.New(environment.Options{})
//	env, err := environment.Resolve(offered, nil)
//	...
//	worker, err := launcher.Start(ctx, environment.Launch{
//		WorkerID:    "w1",
//		Endpoints:   environment.Endpoints{Control: addr, Logging: addr, Artifact: addr, Provision: addr},
//		Environment: env,
//		Dir:         jobDir,
//	})
//	...
//	err = worker.Stop(ctx)
//
// A guard may die with this process. So each worker has a record in the job's
// directory, from which the next process ends it: see [Launcher.Sweep].
//
// # Concurrency
//
// A Launcher and its Processes are safe for concurrent use.
package environment
