package arch

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
)

// orderCeilings is test/arch/order.txt: a line for each package that misses a goal,
// "platform/bus backward 3" or "platform/bus methods 18". A package without a line meets
// the goals. The numbers only get smaller.
type orderCeilings map[[2]string]int

func parseOrder(text string) orderCeilings {
	ceilings := orderCeilings{}
	for line := range strings.Lines(text) {
		if f := strings.Fields(line); len(f) == 3 {
			ceilings[[2]string{f[0], f[1]}], _ = strconv.Atoi(f[2]) // a line without a number allows none
		}
	}
	return ceilings
}

// left returns what a package has more than the goals allow, as order.txt counts it.
func (s shape) left() map[string]int {
	left := map[string]int{}
	if !s.meetsBackward() {
		left["backward"] = len(s.backward)
	}
	if !s.meetsMethods() {
		left["methods"] = s.most()
	}
	return left
}

// checkOrder compares with the ceilings. A fault lists the calls that run backwards.
func checkOrder(found map[string]shape, text string) (faults []string) {
	ceilings := parseOrder(text)
	for _, folder := range slices.Sorted(maps.Keys(found)) {
		s := found[folder]
		left := s.left()
		if allowed := ceilings[[2]string{folder, "backward"}]; left["backward"] > allowed {
			faults = append(faults, fmt.Sprintf("%s: %d of %d calls between files run backwards; %s: move what is called to the callee's file, or divide the package.\nThe order with the fewest: %s\nBackwards:\n\t%s",
				folder, left["backward"], len(s.calls), limit(allowed), strings.Join(s.order, " "), strings.Join(describe(s.backward), "\n\t")))
		}
		allowed := max(ceilings[[2]string{folder, "methods"}], mostMethods)
		for _, name := range slices.Sorted(maps.Keys(s.methods)) {
			if s.methods[name] > allowed {
				faults = append(faults, fmt.Sprintf("%s: type %s has %d methods; %d are the limit: divide it", folder, name, s.methods[name], allowed))
			}
		}
	}
	for _, key := range slices.SortedFunc(maps.Keys(ceilings), func(a, b [2]string) int { return slices.Compare(a[:], b[:]) }) {
		if n := found[key[0]].left()[key[1]]; n < ceilings[key] {
			faults = append(faults, fmt.Sprintf("%s: %s %d in test/arch/order.txt is too high, %d are left (0: the goal is met): note it with `go test ./test/arch -run Order -update-order`", key[0], key[1], ceilings[key], n))
		}
	}
	return faults
}

func limit(allowed int) string {
	if allowed == 0 {
		return fmt.Sprintf("%d %% are the limit", mostBackward)
	}
	return fmt.Sprintf("%d are allowed", allowed)
}

func describe(calls []call) (lines []string) {
	for _, c := range calls {
		lines = append(lines, c.String())
	}
	return lines
}

// lowerCeilings returns the text with the ceilings that are too high lowered, and without
// those that are needed no more. It raises and adds none.
func lowerCeilings(found map[string]shape, text string) string {
	var lines []string
	for key, ceiling := range parseOrder(text) {
		if n := min(ceiling, found[key[0]].left()[key[1]]); n > 0 {
			lines = append(lines, fmt.Sprintf("%s %s %d\n", key[0], key[1], n))
		}
	}
	slices.Sort(lines)
	return strings.Join(lines, "")
}
