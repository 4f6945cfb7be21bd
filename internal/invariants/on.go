//go:build race || invariants

package invariants

// Enabled reports whether assertions are compiled in.
const Enabled = true
