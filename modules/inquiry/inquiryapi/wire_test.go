package inquiryapi_test

import (
	"bytes"
	"encoding/json"
	"os"
	"testing"

	"github.com/stretchr/testify/require"

	"millrace/modules/inquiry/inquiryapi"
)

// The golden files are the wire format. A newer program must read what an older
// one wrote, and write the same bytes.
func TestWireFormat_MatchesGoldenFiles(t *testing.T) {
	t.Parallel()
	const room = "01960000-0000-7000-8000-000000000001"
	card := inquiryapi.CardPosted{
		RoomID: room, ConsultationID: 5621989, CardID: "01960000-0000-7000-8000-000000000002", Position: 3,
		Card: inquiryapi.ReservationCancelled, Transition: "CONSULTATION_CANCELED", Actor: "MEMBER", Speaker: inquiryapi.Hospital,
	}
	message := inquiryapi.MessagePosted{
		RoomID: room, ConsultationID: 5621989, MessageID: "01960000-0000-7000-8000-000000000003", Position: 4, Speaker: inquiryapi.Customer,
	}
	golden(t, card.EventName(), card)
	golden(t, message.EventName(), message)
	require.Equal(t, "5621989", card.Key())
	require.Equal(t, "5621989", message.Key())
}

func golden[E any](t *testing.T, name string, event E) {
	t.Helper()
	want, err := os.ReadFile("testdata/" + name + ".json")
	require.NoError(t, err)
	wire, err := json.Marshal(event)
	require.NoError(t, err)
	require.Equal(t, string(bytes.TrimSpace(want)), string(wire))
	var back E
	require.NoError(t, json.Unmarshal(want, &back))
	require.Equal(t, event, back)
}
