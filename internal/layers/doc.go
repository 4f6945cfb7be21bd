// Package layers keeps the architecture true: its tests hold the table of the
// project's layers and fail when a package is not in it or imports what its
// layer may not. They also keep source files short.
//
// A new package is placed by adding it to the table in table_test.go. To find
// out where it belongs, ask what it must not know: a package imports only
// layers below its own.
//
// The tests parse the source files themselves. They do not ask "go list": the
// result of a test that runs a subprocess is cached without regard to what the
// subprocess read, so a violation added later would go unseen.
package layers
