package main

import (
	"math"
)

// findings are the figures of a run: contender → measure → one value a round.
type findings struct {
	runs  map[string]map[string][]float64
	order []string // measures, as they came
	notes []string
}

func newFindings() *findings { return &findings{runs: map[string]map[string][]float64{}} }

func (f *findings) add(contender, measure string, value float64) {
	if math.IsNaN(value) || math.IsInf(value, 0) {
		return
	}
	if f.runs[contender] == nil {
		f.runs[contender] = map[string][]float64{}
	}
	known := false
	for _, m := range f.order {
		known = known || m == measure
	}
	if !known {
		f.order = append(f.order, measure)
	}
	f.runs[contender][measure] = append(f.runs[contender][measure], value)
}

func (f *findings) note(text string) {
	for _, n := range f.notes {
		if n == text {
			return
		}
	}
	f.notes = append(f.notes, text)
}

func (f *findings) of(contender, measure string) figure { return newFigure(f.runs[contender][measure]) }
