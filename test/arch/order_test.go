package arch

import (
	"flag"
	"fmt"
	"go/token"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

var updateOrder = flag.Bool("update-order", false, "lower the ceilings of backward calls and methods to what is left")

// TestOrder_CeilingsAreThoseOfTheTree counts the product's packages, and lowers the
// ceilings with -update-order.
func TestOrder_CeilingsAreThoseOfTheTree(t *testing.T) {
	t.Parallel()
	found, err := shapes("../..")
	require.NoError(t, err)
	require.Greater(t, len(found), 30, "the packages were found")
	text, err := os.ReadFile("order.txt")
	require.NoError(t, err)
	if *updateOrder {
		lowered := lowerCeilings(found, string(text))
		require.NoError(t, os.WriteFile("order.txt", []byte(lowered), 0o644))
		text = []byte(lowered)
	}
	for _, fault := range checkOrder(found, string(text)) {
		t.Error(fault)
	}
}

// planted packages: what they are, and what is counted of them.
var plantedOrders = []struct {
	name, ceilings string
	files          map[string]string
	fault          string // "" if the package is good
}{
	{"CallsRunDown", "", map[string]string{
		"http.go":  `package p; func route() { serve() }`,
		"serve.go": `package p; func serve() { store{}.save(); store{}.save() }`,
		"store.go": `package p; type store struct{}; func (store) save() { put() }; func put() {}`,
	}, ""},
	{"FunctionCallsBack", "", map[string]string{
		"http.go":  `package p; func route() { serve(); serve() }; func render() {}`,
		"serve.go": `package p; func serve() { render() }`,
	}, "p: 1 of 3 calls between files run backwards"},
	{"MethodCallsBackThroughAThirdFile", "", map[string]string{
		"a.go": `package p; func a() { b(); b() }; type t[T any] struct{}; func (t[T]) back() {}`,
		"b.go": `package p; func b() { c(); c() }`,
		"c.go": `package p; func c() { _ = t[int]{}.back }`,
	}, "p: 1 of 5 calls between files run backwards"},
	{"CeilingHolds", "p backward 1\n", map[string]string{
		"http.go":  `package p; func route() { serve(); serve() }; func render() {}`,
		"serve.go": `package p; func serve() { render() }`,
	}, ""},
	{"CeilingIsExceeded", "p backward 1\n", map[string]string{
		"http.go":  `package p; func route() { serve() }; func get() { serve() }; func put() { serve() }; func render() {}`,
		"serve.go": `package p; func serve() { render(); render() }`,
	}, "p: 2 of 5 calls between files run backwards"},
	{"CeilingIsTooHigh", "p backward 2\n", map[string]string{
		"http.go":  `package p; func route() { serve(); serve() }; func render() {}`,
		"serve.go": `package p; func serve() { render() }`,
	}, "note it"},
	{"CeilingIsNeededNoMore", "p backward 1\n", map[string]string{
		"http.go": `package p`,
	}, "note it"},
	{"PackageIsGone", "q methods 16\n", map[string]string{
		"http.go": `package p`,
	}, "note it"},
	{"TypeHasManyMethods", "", map[string]string{
		"http.go": "package p; type t int\n" + methods(16),
	}, "p: type t has 16 methods"},
	{"TypeHasMoreMethodsThanBefore", "p methods 16\n", map[string]string{
		"http.go": "package p; type t int\n" + methods(17),
	}, "p: type t has 17 methods"},
}

func methods(n int) string {
	var text strings.Builder
	for i := range n {
		fmt.Fprintf(&text, "func (t) m%d() {}\n", i)
	}
	return text.String()
}

func TestOrder_PlantedPackages(t *testing.T) {
	t.Parallel()
	for _, p := range plantedOrders {
		t.Run(p.name, func(t *testing.T) {
			t.Parallel()
			s, err := count(token.NewFileSet(), nil, p.files)
			require.NoError(t, err)
			found := map[string]shape{"p": s}
			faults := checkOrder(found, p.ceilings)
			if p.fault == "" {
				require.Empty(t, faults)
				return
			}
			require.Len(t, faults, 1)
			require.Contains(t, faults[0], p.fault)
			if p.fault == "note it" {
				require.Empty(t, checkOrder(found, lowerCeilings(found, p.ceilings)))
			} else {
				require.NotEmpty(t, checkOrder(found, lowerCeilings(found, p.ceilings)), "-update-order raises no ceiling")
			}
		})
	}
}

// TestOrder_HeuristicFindsWhatTheExactOrderFinds on a ring of files that each call the
// next one: one file's calls must run backwards, and the cheapest ones do.
func TestOrder_HeuristicFindsWhatTheExactOrderFinds(t *testing.T) {
	t.Parallel()
	for _, n := range []int{mostExact, mostExact + 7} {
		var files []string
		for i := range n {
			files = append(files, fmt.Sprintf("%02d.go", (i*7)%n))
		}
		var calls []call
		for i := range n {
			calls = append(calls, call{files[i], files[(i+1)%n], "f"})
			if i != 5 {
				calls = append(calls, call{files[i], files[(i+1)%n], "g"})
			}
		}
		order, backward := bestOrder(slices.Sorted(slices.Values(files)), calls)
		require.Len(t, order, n)
		require.Equal(t, []call{{files[5], files[6], "f"}}, backward, "%d files", n)
	}
}
