// Package metrics merges the monitoring infos of bundles into those of a job.
//
// It is pure: no clock, no lock, no proto. Payloads stay in the encoding of
// the Fn API and are decoded only to be merged, by their type URN.
package metrics

// Info is one monitoring info: a value of some type, named by URN and labels.
type Info struct {
	URN, Type string
	Labels    map[string]string
	// Payload is encoded as the type prescribes.
	Payload []byte
	// Key is what KeyOf makes of URN and labels. It may be empty, but who has it at
	// hand saves a [Set] the making.
	Key string
}
