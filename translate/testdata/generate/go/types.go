package main

import (
	"encoding/binary"
	"fmt"
	"math"
	"reflect"
)

// temperature has a coder of its own.
type temperature struct {
	kelvin float64
}

var temperatureType = reflect.TypeFor[temperature]()

func encodeTemperature(t temperature) []byte {
	return binary.BigEndian.AppendUint64(nil, math.Float64bits(t.kelvin))
}

func decodeTemperature(b []byte) (temperature, error) {
	if len(b) != 8 {
		return temperature{}, fmt.Errorf("temperature of %d bytes", len(b))
	}
	return temperature{math.Float64frombits(binary.BigEndian.Uint64(b))}, nil
}

func toTemperature(n int) temperature { return temperature{float64(n)} }

func fromTemperature(t temperature) float64 { return t.kelvin }

// person is encoded with Beam's row coder.
type person struct {
	Name    string
	Age     int64
	Address address
	Tags    []string
	Nick    *string
}

type address struct {
	City string
	Zip  int32
}

func toPerson(name string) person { return person{Name: name, Address: address{City: name}} }

func cityOf(p person) (string, person) { return p.Address.City, p }

func firstPerson(_ string, people func(*person) bool) person {
	var p person
	people(&p)
	return p
}
