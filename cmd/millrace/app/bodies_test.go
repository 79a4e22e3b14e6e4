package app

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestRoutes_RefuseBodyWithoutContentType tries every operation that takes a
// body: another site's page can send a body without a type, or as text/plain,
// without a CORS preflight.
func TestRoutes_RefuseBodyWithoutContentType(t *testing.T) {
	t.Parallel()
	a, _ := start(t, local(t))
	_, text := get(t, a.URL()+"/openapi.json")
	var description struct {
		Paths map[string]map[string]struct {
			RequestBody json.RawMessage `json:"requestBody"`
		} `json:"paths"`
	}
	require.NoError(t, json.Unmarshal([]byte(text), &description))
	checked := 0
	for path, operations := range description.Paths {
		for method, operation := range operations {
			if operation.RequestBody == nil {
				continue
			}
			checked++
			for _, given := range []string{"", "text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x"} {
				request, err := http.NewRequestWithContext(t.Context(), strings.ToUpper(method), a.URL()+strings.NewReplacer("{", "", "}", "").Replace(path), strings.NewReader(`{}`))
				require.NoError(t, err)
				if given != "" {
					request.Header.Set("Content-Type", given)
				}
				response, err := client.Do(request)
				require.NoError(t, err)
				require.NoError(t, response.Body.Close())
				require.Equal(t, http.StatusUnsupportedMediaType, response.StatusCode, "%s %s as %q", method, path, given)
			}
		}
	}
	require.GreaterOrEqual(t, checked, 8, "the operations were found")
}
