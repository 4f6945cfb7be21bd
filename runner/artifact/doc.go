// Package artifact takes in the files a job depends on and serves them to its
// workers.
//
// A [Store] keeps each distinct content once, in a file named by its SHA-256,
// however many jobs refer to it; a content goes when the last reference does.
// A [Service] connects it to Beam's artifact services:
//
//	Expect(token, dependencies)                 the job has been prepared
//	ReverseArtifactRetrievalService             the client offers, we ask
//	Dependencies(token)                         what workers are told
//	ResolveArtifacts, GetArtifact               workers fetch
//	Release(token)                              the job is gone
//
// Contents are known by their type and type payload, never by their role:
// workers rewrite roles before they ask. What workers are told is always a
// file artifact, whose path names job, content and the base name that the file
// had for the client.
//
// Staging is by reverse retrieval alone. All SDKs of Beam 2.77 use it: Python,
// Java and TypeScript have nothing else, and Go's LegacyArtifactStagingService
// client is a fallback for servers that do not know reverse retrieval. Workers
// ask the legacy retrieval service only when they were told a retrieval token
// but no dependencies, so [NoneStaged] is the token to tell them.
//
// All types are safe for concurrent use.
package artifact

// NoneStaged is the retrieval token that keeps the SDKs' boot programs from
// asking for a legacy manifest.
const NoneStaged = "__no_artifacts_staged__"
