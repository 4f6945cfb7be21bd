package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"reflect"
	"syscall"

	"github.com/apache/beam/sdks/v2/go/pkg/beam"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/register"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/testing/passert"
)

func init() {
	register.Function1x2(failAtThree)
	register.Function1x1(panicAtThree)
	register.Function1x1(opaque)
	register.Function1x1(show)
	register.DoFn2x1[context.Context, int, int](&stallFn{})
	register.DoFn2x2[context.Context, int, int, error](&onceFn{})
	beam.RegisterCoder(sealedType, encodeSealed, decodeSealed)
}

func failAtThree(i int) (int, error) {
	if i == 3 {
		return 0, errors.New("three is not welcome (error 4711)")
	}
	return i, nil
}

// userError fails in a transform within two scopes.
func userError(s beam.Scope, _ config) {
	beam.ParDo(s.Scope("Outer").Scope("Inner"), failAtThree, integers(s, 5))
}

func panicAtThree(i int) int {
	if i == 3 {
		panic("three makes me panic (error 4712)")
	}
	return i
}

// userPanic panics in a transform.
func userPanic(s beam.Scope, _ config) {
	beam.ParDo(s.Scope("Outer"), panicAtThree, integers(s, 5))
}

// sealed can be encoded but not decoded.
type sealed struct{ I int }

var sealedType = reflect.TypeFor[sealed]() //nolint:gochecknoglobals // a constant in all but name

func encodeSealed(s sealed) []byte { return fmt.Append(nil, s.I) }
func decodeSealed(b []byte) (sealed, error) {
	return sealed{}, fmt.Errorf("cannot unseal %q (error 4713)", b)
}

func opaque(i int) sealed { return sealed{i} }

func show(s sealed) int { return s.I }

// badCoder fails when the user's coder decodes.
func badCoder(s beam.Scope, _ config) {
	beam.ParDo(s, show, beam.Reshuffle(s, beam.ParDo(s, opaque, integers(s, 2))))
}

// onceFn does something bad the first time that it sees the element 500, as
// told by the existence of a file.
type onceFn struct {
	Marker string
	Kill   bool
}

// ProcessElement passes on its element.
func (f *onceFn) ProcessElement(_ context.Context, i int) (int, error) {
	if i != 500 {
		return i, nil
	}
	marker, err := os.OpenFile(f.Marker, os.O_CREATE|os.O_EXCL, 0o644)
	switch {
	case os.IsExist(err):
		return i, nil
	case err != nil:
		return 0, err
	}
	if err := marker.Close(); err != nil {
		return 0, err
	}
	if f.Kill {
		return 0, syscall.Kill(os.Getpid(), syscall.SIGKILL)
	}
	return 0, errors.New("failed once")
}

// once runs elements before and after a shuffle past an accident.
func once(s beam.Scope, c config, kill bool) {
	const n = 1000
	met := beam.ParDo(s, &onceFn{c.marker, kill}, beam.Reshuffle(s, integers(s, n)))
	again := beam.Reshuffle(s, met)
	passert.Equals(s, beam.Combine(s, sum, again), n*(n-1)/2)
	passert.Count(s, again, "all elements, once", n)
}

// workerKill kills its worker in the middle of a bundle, once.
func workerKill(s beam.Scope, c config) { once(s, c, true) }

// flaky fails in the middle of a bundle, once.
func flaky(s beam.Scope, c config) { once(s, c, false) }

// stallFn leaves a trace of itself and waits for the end of the world.
type stallFn struct{ Marker string }

// ProcessElement returns only when the worker is told to end.
func (f *stallFn) ProcessElement(ctx context.Context, i int) int {
	if err := os.WriteFile(f.Marker, nil, 0o644); err != nil {
		panic(err)
	}
	<-ctx.Done()
	select {}
}

// stall never ends.
func stall(s beam.Scope, c config) {
	beam.ParDo(s, &stallFn{c.marker}, beam.Reshuffle(s, integers(s, 2)))
}
