package main

import (
	"math"
	"slices"
)

// median of values; NaN of none.
func median(values []float64) float64 { return percentile(values, 50) }

// percentile by linear interpolation between the two nearest ranks; NaN of none.
func percentile(values []float64, p float64) float64 {
	if len(values) == 0 {
		return math.NaN()
	}
	sorted := slices.Sorted(slices.Values(values))
	rank := p / 100 * float64(len(sorted)-1)
	low := int(rank)
	if low+1 >= len(sorted) {
		return sorted[len(sorted)-1]
	}
	return sorted[low] + (rank-float64(low))*(sorted[low+1]-sorted[low])
}

// figure is what the rounds of one measure gave, in their order, so that a
// ratio can be taken round by round.
type figure struct {
	Median float64   `json:"median"`
	Min    float64   `json:"min"`
	Max    float64   `json:"max"`
	Runs   []float64 `json:"runs"`
}

func newFigure(runs []float64) figure {
	if len(runs) == 0 {
		return figure{Median: math.NaN(), Min: math.NaN(), Max: math.NaN()}
	}
	return figure{Median: median(runs), Min: slices.Min(runs), Max: slices.Max(runs), Runs: runs}
}

// ratioOf divides round by round: what the machine did to one round it did to
// both. Rounds that only one of them has do not count.
func ratioOf(a, b []float64) figure {
	var ratios []float64
	for i := range min(len(a), len(b)) {
		if b[i] > 0 {
			ratios = append(ratios, a[i]/b[i])
		}
	}
	return newFigure(ratios)
}
