package bus

import (
	"testing"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"millrace/platform/bus/envelope"
	"millrace/platform/errs"
)

// FuzzEnvelope: whatever a message brings, reading its envelope ends in a
// message with an id, a type and a key, or in an error that sends it to the dead
// letters at once.
func FuzzEnvelope(f *testing.F) {
	f.Add("01a204d7-3bcc-76b3-8833-f85f7ecf4fcc", "shop.paid", "order-1", "2026-04-05T03:00:00.123456789Z", "7", []byte(`{"n":1}`))
	f.Add("", "", "", "", "", []byte(nil))
	f.Add("00000000-0000-0000-0000-000000000000", "shop.paid", "order-1", "", "", []byte("{}"))
	f.Add("not-a-uuid", "x", "\x00", "yesterday", "-1", []byte("\xff"))
	f.Fuzz(func(t *testing.T, id, typ, key, at, sequence string, payload []byte) {
		msg := message.NewMessage(id, payload)
		msg.Metadata = message.Metadata{
			envelope.ID: id, envelope.Type: typ, envelope.Key: key, envelope.Time: at, envelope.Sequence: sequence, envelope.Partition: sequence,
		}
		received, err := ReceivedFrom(msg)
		if err != nil {
			require.Equal(t, errs.Undecodable, errs.KindOf(err))
			require.Equal(t, errs.Dead, errs.KindOf(err).Reaction())
			return
		}
		require.NotEqual(t, uuid.Nil, received.ID)
		require.NotEmpty(t, received.Type)
		require.NotEmpty(t, received.Key)
		require.Equal(t, string(payload), string(received.Data))
	})
}
