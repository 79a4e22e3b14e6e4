//go:build cloudevents

package kafka

import (
	"encoding/json"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"millrace/test/broker"
)

// sdk runs the program in another language, and returns the lines of its output.
func sdk(t *testing.T, arguments ...string) []string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "../../.ci/venv/bin/python", append([]string{"../../.ci/events_on_kafka.py"}, arguments...)...) //nolint:gosec // our own script
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	require.NoError(t, err, stderr.String())
	return strings.Split(strings.TrimSpace(string(out)), "\n")
}

type cloudEvent struct {
	Attributes map[string]string `json:"attributes"`
	Data       json.RawMessage   `json:"data"`
}

func TestCloudEvents_SDKOfAnotherLanguageReadsOurs(t *testing.T) {
	cluster := broker.Start(t, broker.Options{Properties: shortSessions()})
	o := open(t, configFor(cluster.Brokers()))
	brokers := strings.Join(cluster.Brokers(), ",")
	o.publish(0, 10)
	o.effects(10)
	numbers := map[int]bool{}
	for _, line := range sdk(t, "read", brokers, "shop.events", "10") {
		var event cloudEvent
		require.NoError(t, json.Unmarshal([]byte(line), &event), line)
		var data paid
		require.NoError(t, json.Unmarshal(event.Data, &data), line)
		numbers[data.N] = true
		require.Equal(t, "order-"+string(rune('a'+data.N%5)), data.Order)
		published, err := time.Parse(time.RFC3339, event.Attributes["time"])
		require.NoError(t, err, line)
		require.WithinDuration(t, time.Now(), published, time.Hour)
		sequence, err := strconv.Atoi(event.Attributes["sequence"])
		require.NoError(t, err, line)
		require.Positive(t, sequence)
		require.NotEmpty(t, event.Attributes["id"])
		for name, want := range map[string]string{
			"specversion": "1.0", "type": "shop.paid", "source": "shop", "datacontenttype": "application/json",
			"subject": data.Order, "partitionkey": data.Order,
		} {
			require.Equal(t, want, event.Attributes[name], "%s of %s", name, line)
		}
	}
	require.Len(t, numbers, 10)
}

func TestCloudEvents_FromSDKOfAnotherLanguageAreHandled(t *testing.T) {
	cluster := broker.Start(t, broker.Options{Properties: shortSessions()})
	o := open(t, configFor(cluster.Brokers()))
	brokers := strings.Join(cluster.Brokers(), ",")
	event := func(mode, id string, n int) string {
		text, err := json.Marshal(map[string]any{
			"key": "order-f", "mode": mode, "data": paid{"order-f", n},
			"attributes": map[string]any{"specversion": "1.0", "id": id, "source": "/legacy", "type": "shop.paid", "datacontenttype": "application/json"},
		})
		require.NoError(t, err)
		return string(text)
	}
	binary, structured := event("binary", "A-1", 1), event("structured", "A-2", 2)
	sdk(t, "write", brokers, "shop.events", binary, structured, binary, structured)
	sdk(t, "write", brokers, "shop.events", event("binary", "A-3", 3))
	eventually(t, "the effects", func() bool { return o.text(`SELECT count(*) FROM store.effects WHERE n = 3`) == "1" })
	eventually(t, "each once", func() bool {
		return o.text(`SELECT string_agg(n::text, ' ' ORDER BY n) FROM store.effects`) == "1 2 3"
	})
	require.Equal(t, "0", o.text(`SELECT count(*) FROM store.parked_messages`))
}
