package versions_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"millrace/cmd/millrace/app"
)

// A newer version may add a field to any object of any message. The golden files, with
// an unknown field in each object, must decode to the same values. (The rolling
// restart of the conformance suite tests the same through the bus.)
func TestMessages_DecodeWithFieldsOfANewerVersion(t *testing.T) {
	t.Parallel()
	messages := app.Messages()
	require.NotEmpty(t, messages)
	for name, message := range messages {
		module, _, _ := strings.Cut(name, ".")
		golden, err := filepath.Glob(filepath.Join("..", "..", "modules", module, module+"api", "testdata", name+"*.json"))
		require.NoError(t, err)
		require.NotEmpty(t, golden, "the contract of %s has no testdata/%s.json: its wire form", module, name)
		for _, file := range golden {
			text, err := os.ReadFile(file) //nolint:gosec // a file of the repository
			require.NoError(t, err)
			var value any
			require.NoError(t, json.Unmarshal(text, &value))
			grown, err := json.Marshal(grow(value))
			require.NoError(t, err)
			require.Contains(t, string(grown), "ofANewerVersion", file)
			now, before := reflect.New(reflect.TypeOf(message)), reflect.New(reflect.TypeOf(message))
			require.NoError(t, json.Unmarshal(text, before.Interface()), file)
			require.NoError(t, json.Unmarshal(grown, now.Interface()), "%s with fields of a newer version", file)
			require.Equal(t, before.Interface(), now.Interface(), file)
		}
	}
}

// grow adds a field to each nested object, except params: that is a map from
// template variables to texts, not an object with fields.
func grow(value any) any {
	switch v := value.(type) {
	case map[string]any:
		for name := range v {
			if name != "params" {
				v[name] = grow(v[name])
			}
		}
		v["ofANewerVersion"] = map[string]any{"list": []any{1, "two", nil}}
	case []any:
		for i := range v {
			v[i] = grow(v[i])
		}
	}
	return value
}
