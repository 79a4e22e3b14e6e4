package store

import (
	"encoding/json"
	"testing"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/stretchr/testify/require"

	"millrace/platform/bus/envelope"
)

func TestEncodeMetadata_IsReadBackWhateverItHolds(t *testing.T) {
	t.Parallel()
	for _, value := range []string{"", "plain", `"quoted"`, `back\slash`, "line\nbreak", "\x00\x1f\x7f", "한글", "<a>&\u2028"} {
		text, err := EncodeMetadata(message.Metadata{envelope.ID: "a column", "first": value, value: "second"})
		require.NoError(t, err)
		var got map[string]string
		require.NoError(t, json.Unmarshal([]byte(text), &got), text)
		require.Equal(t, map[string]string{"first": value, value: "second"}, got)
	}
	text, err := EncodeMetadata(message.Metadata{envelope.Key: "a column"})
	require.NoError(t, err)
	require.Equal(t, "{}", text)
}

func TestColumns_EmptyPayloadIsNotNull(t *testing.T) {
	t.Parallel()
	var b Columns
	_, err := b.AddMessage(message.NewMessage("id", nil))
	require.NoError(t, err)
	require.Equal(t, []byte{}, b.One()[4])
}
