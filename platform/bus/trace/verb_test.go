package trace_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"millrace/platform/bus/trace"
)

func TestMessage_VerbIsThatOfEventsAndCommands(t *testing.T) {
	t.Parallel()
	require.Equal(t, "published", trace.Message{Type: "payment.completed", Topic: "payment.events"}.Verb())
	require.Equal(t, "sent", trace.Message{Type: "payment.refund", Topic: "payment.commands"}.Verb())
	require.Equal(t, "sent", trace.Message{Type: "payment.refund", Topic: "payment.commands/delivery"}.Verb(), "through Kafka")
}
