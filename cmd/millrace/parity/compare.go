package parity

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// row is one thing that was seen: field → normalised value. Field "" is not
// used; a nil row is one that is not there.
type row map[string]string

// A line of the report is compared as a bag of rows.
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
	Against string   `json:"against"` // which run it was compared with
	Rows    int      `json:"rows"`    // of the first run
	Verdict string   `json:"verdict"`
	Because []string `json:"because,omitempty"` // reasons of an adaptation; of a difference, where it is and both sides
}

// told is a row as text, without the fields that hide does not want to see.
func (r row) told(hide func(field string) bool) string {
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
		all[i] = r.told(hide)
	}
	slices.Sort(all)
	return all
}

// compare says whether two runs agree in a line, given the list of reasons: by
// "line.field", or by "line" where rows as such may differ.
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
	// Only what may differ does: say which fields, one by one.
	for _, field := range fields(one, other) {
		only := func(f string) bool { return f != field && may(f) }
		if may(field) && !slices.Equal(one.sorted(only), other.sorted(only)) {
			because = append(because, field+": "+reasons[one.name+"."+field])
		}
	}
	if len(because) == 0 { // they differ in how the fields go together
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

// difference tells the first row that one side lacks, and what the other side
// has nearest to it.
func difference(left, right []string) []string {
	onlyLeft, onlyRight := minus(left, right), minus(right, left)
	told := []string{fmt.Sprintf("%d of %d rows against %d of %d", len(onlyLeft), len(left), len(onlyRight), len(right))}
	side := func(rows []string, like string) string {
		if len(rows) == 0 {
			return "(no such row)"
		}
		return slices.MaxFunc(rows, func(a, b string) int { return cmp.Compare(alike(a, like), alike(b, like)) })
	}
	if len(onlyLeft) > 0 {
		return append(told, onlyLeft[0], side(onlyRight, onlyLeft[0]))
	}
	return append(told, side(onlyLeft, ""), onlyRight[0])
}

// minus is the bag of rows that are in a and not in b; both are sorted.
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

// alike is how many fields two told rows have in common.
func alike(a, b string) (n int) {
	other := strings.Split(b, " · ")
	for field := range strings.SplitSeq(a, " · ") {
		if slices.Contains(other, field) {
			n++
		}
	}
	return n
}
