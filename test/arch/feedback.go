package arch

import (
	"math"
	"math/bits"
	"slices"
)

// cycles groups files that call each other, directly or through others. A group comes
// before the groups that it calls; so only calls within a group can run backwards.
// It is Tarjan's algorithm.
func cycles(files []string, weights map[string]map[string]int) (groups [][]string) {
	index, low, open := map[string]int{}, map[string]int{}, []string{}
	var visit func(string)
	visit = func(f string) {
		index[f] = len(index) + 1
		low[f] = index[f]
		open = append(open, f)
		for _, next := range files {
			if weights[f][next] == 0 {
				continue
			}
			if index[next] == 0 {
				visit(next)
				low[f] = min(low[f], low[next])
			} else if slices.Contains(open, next) {
				low[f] = min(low[f], index[next])
			}
		}
		if low[f] == index[f] {
			at := slices.Index(open, f)
			groups = append(groups, slices.Clone(open[at:]))
			open = open[:at]
		}
	}
	for _, f := range files {
		if index[f] == 0 {
			visit(f)
		}
	}
	slices.Reverse(groups)
	return groups
}

// mostExact is the largest group whose best order is computed exactly: 2^18 sets of files.
const mostExact = 18

// arrange orders the files of a group so that the fewest calls run backwards. In a group
// of more than mostExact files it finds a good order, not always the best.
func arrange(group []string, weights map[string]map[string]int) []string {
	slices.Sort(group)
	calls := make([][]int, len(group)) // calls[i][j] from group[i] to group[j]
	for i, from := range group {
		calls[i] = make([]int, len(group))
		for j, to := range group {
			calls[i][j] = weights[from][to]
		}
	}
	best := exact
	if len(group) > mostExact {
		best = func(calls [][]int) []int { return improve(greedy(calls), calls) }
	}
	var order []string
	for _, i := range best(calls) {
		order = append(order, group[i])
	}
	return order
}

// exact tries all sets of files: fewest[set] is the number of backward calls when the
// files of the set come first, in their best order; last[set] is the last file of it.
func exact(calls [][]int) []int {
	fewest, last := make([]int, 1<<len(calls)), make([]int, 1<<len(calls))
	for set := 1; set < len(fewest); set++ {
		fewest[set] = math.MaxInt
		for i := range calls {
			if set&(1<<i) == 0 {
				continue
			}
			others := set &^ (1 << i)
			cost := fewest[others]
			for rest := others; rest != 0; rest &= rest - 1 {
				cost += calls[i][bits.TrailingZeros(uint(rest))]
			}
			if cost < fewest[set] {
				fewest[set], last[set] = cost, i
			}
		}
	}
	order := make([]int, len(calls))
	for set, at := len(fewest)-1, len(order)-1; set != 0; at-- {
		order[at] = last[set]
		set &^= 1 << last[set]
	}
	return order
}

// greedy puts files that call no other one to the end, those that no other one calls to
// the beginning, and, when there are none, the file next that has the most outgoing
// calls more than incoming ones.
func greedy(calls [][]int) []int {
	var first, end []int
	left := make([]int, len(calls))
	for i := range left {
		left[i] = i
	}
	for len(left) > 0 {
		at, most, toEnd := 0, math.MinInt, false
		for k, i := range left {
			out, in := 0, 0
			for _, j := range left {
				out, in = out+calls[i][j], in+calls[j][i]
			}
			if out == 0 || in == 0 {
				at, toEnd = k, out == 0
				break
			}
			if out-in > most {
				at, most = k, out-in
			}
		}
		if toEnd {
			end = append(end, left[at])
		} else {
			first = append(first, left[at])
		}
		left = slices.Delete(left, at, at+1)
	}
	slices.Reverse(end)
	return append(first, end...)
}

// improve moves single files to their best places until no move helps.
func improve(order []int, calls [][]int) []int {
	for better := true; better; {
		better = false
		for _, i := range slices.Clone(order) {
			from := slices.Index(order, i)
			rest := slices.Delete(slices.Clone(order), from, from+1)
			cost := 0 // in the first place: every call to i runs backwards
			for _, j := range rest {
				cost += calls[j][i]
			}
			costs := []int{cost}
			for _, j := range rest {
				cost += calls[i][j] - calls[j][i]
				costs = append(costs, cost)
			}
			to := slices.Index(costs, slices.Min(costs))
			if costs[to] < costs[from] {
				order, better = slices.Insert(rest, to, i), true
			}
		}
	}
	return order
}
