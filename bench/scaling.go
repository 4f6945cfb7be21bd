package main

import "context"

func scaling(context.Context, binaries, settings) error { return nil }
