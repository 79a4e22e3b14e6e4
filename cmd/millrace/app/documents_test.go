package app

import (
	"net/http"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"millrace/config"
	"millrace/platform/bus"
	"millrace/test/readme"
)

// unopened is a transport without a database.
type unopened struct{ transport }

func (unopened) DB(string) *bus.DB { return nil }

func TestMetrics_MatchTheDocuments(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("../../../docs/operations.md")
	require.NoError(t, err)
	_, rest, found := strings.Cut(string(text), "<!-- metrics -->")
	require.True(t, found)
	table, _, found := strings.Cut(rest, "<!-- /metrics -->")
	require.True(t, found)
	var documented []string
	for _, row := range regexp.MustCompile("(?m)^\\| `(\\w+)").FindAllStringSubmatch(table, -1) {
		documented = append(documented, row[1])
	}
	var there []string
	a := &App{hosted: declared(config.Default()), transport: unopened{}}
	for _, m := range append(a.metrics(), kafkaMetrics(nil)...) {
		if !slices.Contains(there, m.Name) {
			there = append(there, m.Name)
		}
	}
	require.ElementsMatch(t, there, documented, "docs/operations.md")
}

// TestReadme_CurlCommandsPayAndDeliver sends the requests of the README's "Try it by hand".
func TestReadme_CurlCommandsPayAndDeliver(t *testing.T) {
	t.Parallel()
	commands, err := readme.Shell("../../..")
	require.NoError(t, err)
	a, _ := start(t, local(t))
	made := 0
	for _, c := range commands {
		if c.File != "README.md" || c.Args[0] != "curl" {
			continue
		}
		made++
		method, url, body, header := "GET", "", "", http.Header{}
		for i := 1; i < len(c.Args); i++ {
			switch c.Args[i] {
			case "-X", "-d", "-H":
				i++
				switch value := c.Args[i]; c.Args[i-1] {
				case "-X":
					method = value
				case "-d":
					body = value
				case "-H":
					name, text, _ := strings.Cut(value, ": ")
					header.Set(name, text)
				}
			default:
				path, ok := strings.CutPrefix(c.Args[i], "localhost:8080")
				require.True(t, ok, c.String())
				url = a.URL() + path
			}
		}
		request, err := http.NewRequestWithContext(t.Context(), method, url, strings.NewReader(body))
		require.NoError(t, err)
		request.Header = header
		answer, err := client.Do(request)
		require.NoError(t, err, c.String())
		require.NoError(t, answer.Body.Close())
		require.Less(t, answer.StatusCode, 300, c.String())
	}
	require.Equal(t, 3, made)
	require.Eventually(t, func() bool {
		_, body := get(t, a.URL()+"/deliveries/goods-1")
		return strings.Contains(body, `"state":"delivered"`)
	}, 2*time.Minute, 100*time.Millisecond)
}
