package main

import (
	"fmt"
	"math"
	"strconv"
	"strings"
)

// parseSize reads a number of bytes such as 512MiB, 4G or 1000000. Empty is 0.
func parseSize(s string) (int64, error) {
	text := strings.TrimSpace(s)
	if text == "" {
		return 0, nil
	}
	digits := strings.TrimRight(text, "BbIiKkMmGgTt ")
	var factor float64
	switch strings.ToUpper(strings.TrimSpace(text[len(digits):])) {
	case "", "B":
		factor = 1
	case "K", "KIB":
		factor = 1 << 10
	case "M", "MIB":
		factor = 1 << 20
	case "G", "GIB":
		factor = 1 << 30
	case "T", "TIB":
		factor = 1 << 40
	case "KB":
		factor = 1e3
	case "MB":
		factor = 1e6
	case "GB":
		factor = 1e9
	case "TB":
		factor = 1e12
	default:
		return 0, fmt.Errorf("%q is not a size: use B, KiB, MiB, GiB or TiB", s)
	}
	n, err := strconv.ParseFloat(digits, 64)
	if err != nil || !(n > 0 && n*factor < math.MaxInt64/2) { // NaN fails both
		return 0, fmt.Errorf("%q is not a size such as 512MiB", s)
	}
	return int64(n * factor), nil
}

// formatSize prints a number of bytes as parseSize reads it, in short.
func formatSize(n int64) string {
	const step = 1024
	if n < step {
		return fmt.Sprintf("%dB", n)
	}
	v, units := float64(n)/step, []string{"KiB", "MiB", "GiB", "TiB"}
	for v >= step && len(units) > 1 {
		v, units = v/step, units[1:]
	}
	return fmt.Sprintf("%.1f%s", v, units[0])
}
