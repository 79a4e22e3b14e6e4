package main

import (
	"encoding/json"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"regexp"
	"testing"

	"github.com/stretchr/testify/require"

	"millrace/cmd/millrace/app"
)

// It sets the variable that the linker sets, so it does not run in parallel.
func TestVersion_NamesReleaseAndCommit(t *testing.T) {
	commit = "0123456789abcdef0123456789abcdef01234567"
	defer func() { commit = "" }()
	require.Equal(t, release+"+0123456789ab", version())
	_, out, _ := try(t, nil, "version")
	require.Contains(t, out, "millrace "+release+", commit 0123456789ab, ")

	mux := http.NewServeMux()
	_, err := app.Routes(mux, version(), slog.New(slog.DiscardHandler))
	require.NoError(t, err)
	answer := httptest.NewRecorder()
	mux.ServeHTTP(answer, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/openapi.json", nil))
	var described struct{ Info struct{ Version string } }
	require.NoError(t, json.Unmarshal(answer.Body.Bytes(), &described))
	require.Equal(t, release+"+0123456789ab", described.Info.Version)
}

func TestVersion_IsTheNewestOfTheChangelog(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("../../CHANGELOG.md")
	require.NoError(t, err)
	newest := regexp.MustCompile(`(?m)^## \[?(\d+\.\d+\.\d+)`).FindSubmatch(text)
	require.NotNil(t, newest)
	require.Equal(t, release, string(newest[1]))
}
