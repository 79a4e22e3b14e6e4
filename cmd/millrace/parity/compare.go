package parity

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// row is an observed row: field → normalised value. A field's name is never empty; a
// nil row is a missing row.
type row map[string]string

// line is a line of the report. Its rows are compared without regard to their order.
type line struct {
	name string
	rows []row
}

// Verdicts.
const (
	Identical = "identical"
	Adapted   = "adapted"
	Different = "different"
)

// Line is one line of the table.
type Line struct {
	Name    string   `json:"name"`
	Against string   `json:"against"` // the name of the other run
	Rows    int      `json:"rows"`    // number of rows in the first run
	Verdict string   `json:"verdict"`
	Because []string `json:"because,omitempty"` // if adapted, the reasons; if different, a summary and a row of each side
}

// text is a row as text, without the fields for which hide returns true.
func (r row) text(hide func(field string) bool) string {
	var all []string
	for _, field := range slices.Sorted(maps.Keys(r)) {
		if !hide(field) {
			all = append(all, field+"="+r[field])
		}
	}
	return strings.Join(all, " · ")
}

func (l line) sorted(hide func(string) bool) []string {
	all := make([]string, len(l.rows))
	for i, r := range l.rows {
		all[i] = r.text(hide)
	}
	slices.Sort(all)
	return all
}

// compare compares a line of two runs. reasons lists the allowed differences, by
// "line.field", or by "line" if whole rows may differ.
func compare(one, other line, reasons map[string]string) (verdict string, because []string) {
	nothing := func(string) bool { return false }
	if slices.Equal(one.sorted(nothing), other.sorted(nothing)) {
		return Identical, nil
	}
	may := func(field string) bool { _, ok := reasons[one.name+"."+field]; return ok }
	left, right := one.sorted(may), other.sorted(may)
	if reason, ok := reasons[one.name]; ok {
		return Adapted, []string{reason}
	}
	if !slices.Equal(left, right) {
		return Different, difference(left, right)
	}
	// Only allowed fields differ: list them.
	for _, field := range fields(one, other) {
		only := func(f string) bool { return f != field && may(f) }
		if may(field) && !slices.Equal(one.sorted(only), other.sorted(only)) {
			because = append(because, field+": "+reasons[one.name+"."+field])
		}
	}
	if len(because) == 0 { // only the combination of allowed fields differs: list them all
		for _, field := range fields(one, other) {
			if may(field) {
				because = append(because, field+": "+reasons[one.name+"."+field])
			}
		}
	}
	return Adapted, because
}

func fields(lines ...line) []string {
	found := map[string]bool{}
	for _, l := range lines {
		for _, r := range l.rows {
			for field := range r {
				found[field] = true
			}
		}
	}
	return slices.Sorted(maps.Keys(found))
}

// difference returns a summary, the first row that one side lacks, and the most
// similar row of the other side.
func difference(left, right []string) []string {
	onlyLeft, onlyRight := minus(left, right), minus(right, left)
	summary := []string{fmt.Sprintf("%d of %d rows against %d of %d", len(onlyLeft), len(left), len(onlyRight), len(right))}
	side := func(rows []string, like string) string {
		if len(rows) == 0 {
			return "(no such row)"
		}
		return slices.MaxFunc(rows, func(a, b string) int { return cmp.Compare(alike(a, like), alike(b, like)) })
	}
	if len(onlyLeft) > 0 {
		return append(summary, onlyLeft[0], side(onlyRight, onlyLeft[0]))
	}
	return append(summary, side(onlyLeft, ""), onlyRight[0])
}

// minus returns the rows of a that are not in b, counting duplicates.
func minus(a, b []string) (rest []string) {
	count := map[string]int{}
	for _, r := range b {
		count[r]++
	}
	for _, r := range a {
		if count[r]--; count[r] < 0 {
			rest = append(rest, r)
		}
	}
	return rest
}

// alike counts the fields that two rows, as text, have in common.
func alike(a, b string) (n int) {
	other := strings.Split(b, " · ")
	for field := range strings.SplitSeq(a, " · ") {
		if slices.Contains(other, field) {
			n++
		}
	}
	return n
}
