// Package fnapi is the runner's side of the Fn API: the gRPC services that SDK
// harnesses connect to, and on top of them a [Worker], which executes bundles
// for the engine.
//
// One [Server] serves the harnesses of all jobs in the process. A worker is
// announced with [Server.Expect] before its process is started; its harness
// then says its id in the metadata of every stream. Artifact retrieval is not
// part of the package; register it on the same gRPC server.
//
//	server := fnapi.NewServer(fnapi.Options{Log: log})
//	gs := grpc.NewServer(fnapi.ServerOptions()...)
//	server.Register(gs)
//	worker, err := server.Expect(fnapi.WorkerSpec{ID: "w1", …})
//	// start the process, then
//	<-worker.Connected()
//	running, err := worker.Start(ctx, bundle)
//	result, err := running.Wait()
//
// # The life of a worker
//
//	expected --control stream opens--> connected --stream breaks, garbage, Kill--> lost
//	    \----------------------------------\------------Stop------------------> stopped
//
// Bundles may be started before the harness has connected; they wait. A lost
// worker never comes back: its bundles end with an error that wraps
// harness.ErrWorkerLost. Stop must be called for every worker, lost or not; it
// takes the worker out of the server.
//
// # The life of a bundle
//
// A bundle is over when the harness has answered ProcessBundle and has closed
// every output; an answer that is an error ends it at once, and so does the end
// of its context. What comes for it later is dropped: instruction ids are never
// used twice in a process.
//
// # Data
//
// Element bytes pass without protobuf. An incoming Elements message is parsed
// where gRPC left it, in pieces, and the pieces go to the bundle's Output; an
// outgoing message is a header of ours around the blocks themselves. One
// goroutine a worker sends, one message of each running bundle in turn, straight
// from the bundle's input: there is no queue of bytes to bound.
//
// # State
//
// Requests are parsed by hand, and keys that come again once. They are answered by
// the goroutine that receives them, unless harness.State says that an answer may
// take longer than memory does. Of control messages only the answers to bundles,
// of which there are many, are parsed by hand.
//
// # Memory
//
// What a harness sends and nobody has taken yet is at most a window of each of
// its streams, Options.WindowBytes, and the message that is being received; what
// it is sent is referred to where it lies, and copied into a buffer of 128 KiB as
// it leaves. A connection has a buffer of 128 KiB for reading. A state request
// holds its answer, a page of a megabyte or one value, until it is sent; there
// are at most Options.MaxStateRequests at a time.
//
// # Concurrency and locks
//
// Server.mu, Worker.mu and execution.mu each guard the fields that say so and are
// never held together. Output.Write is called under the execution's lock, so that
// none can happen after a bundle has ended.
package fnapi
