package licenses_test

import (
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// goItself is a module with the same licence as Go itself.
const goItself = "golang.org/x/sys"

// inside has third-party works that a module embeds without their licence texts.
// Each has the licence of another module in the list.
var inside = map[string]string{
	"github.com/swaggest/swgui": "Swagger UI 5 (Apache-2.0), Copyright 2020-2021 SmartBear Software Inc.; what its bundle contains is listed at https://github.com/swagger-api/swagger-ui",
}

const head = `THIRD-PARTY NOTICES

The program millrace contains the software listed below, and carries its
licences. The sources of each module are at its address, as
https://pkg.go.dev/PATH@VERSION. ` + "`go test ./test/licenses -update`" + ` writes this
file.

`

// render returns the contents of THIRD_PARTY_NOTICES.txt: the modules with the numbers
// of their texts, and then each text once.
func render(t *testing.T, all []module) string {
	t.Helper()
	var list, texts strings.Builder
	numbers := map[string]int{}
	add := func(m module, title string) {
		var ids, places []string
		for _, name := range slices.Sorted(maps.Keys(m.files)) {
			text := m.files[name]
			if numbers[text] == 0 {
				numbers[text] = len(numbers) + 1
				fmt.Fprintf(&texts, "\n%s\n[%d] %s of %s\n\n%s\n", strings.Repeat("=", 78), numbers[text], name, m.path, strings.TrimSpace(text))
			}
			places = append(places, fmt.Sprintf("[%d]", numbers[text]))
			if licenceFile.MatchString(filepath.Base(name)) {
				found, _ := identify(text)
				ids = append(ids, found...)
			}
		}
		if len(ids) == 0 {
			ids = []string{"public domain"} // see judged
		}
		slices.Sort(ids)
		fmt.Fprintf(&list, "%s: %s %s\n", title, strings.Join(slices.Compact(ids), ", "), strings.Join(places, " "))
		if inside[m.path] != "" {
			fmt.Fprintf(&list, "    contains %s\n", inside[m.path])
		}
	}
	i := slices.IndexFunc(all, func(m module) bool { return m.path == goItself })
	require.GreaterOrEqual(t, i, 0, "%s is not linked any more: take Go's own licence from elsewhere", goItself)
	add(all[i], "Go, its standard library and runtime, https://go.dev")
	for _, m := range all {
		add(m, m.path+" "+m.version)
	}
	for path := range inside {
		require.True(t, slices.ContainsFunc(all, func(m module) bool { return m.path == path }), "%s is not linked any more", path)
	}
	return head + list.String() + texts.String()
}
