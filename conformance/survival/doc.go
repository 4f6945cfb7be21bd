// Package survival holds the test that jobs outlive their server: pipelines are
// run by a server process that is killed, or stopped, at chosen moments of them.
package survival
