package roles_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/lib/pq"
	"github.com/lib/pq/pqerror"
	"github.com/stretchr/testify/require"

	"millrace/platform/bus"
)

// A module's role can also call the append functions and write its outbox with SQL.
// The database must refuse a message over the limits, like Publish does: other
// processes could not handle it.
func TestAppend_RefusesWhatIsLargerThanAMessage(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "CREATEROLE")
	require.NoError(t, w.migrate())
	payment := w.open(w.as(w.user("in_payment", "payment")), 1)
	const largest = bus.MaxPayload
	for name, statement := range map[string]string{
		"LogOne":   `SELECT payment.append_log_one(1::smallint, gen_random_uuid(), 'payment.failed', 'k', %[1]s, %[2]s::json)`,
		"Log":      `SELECT payment.append_log('{1}', ARRAY[gen_random_uuid()], '{payment.failed}', '{k}', ARRAY[%[1]s], ARRAY[%[2]s])`,
		"QueueOne": `SELECT payment.append_queue_one(1::smallint, gen_random_uuid(), 'payment.refund', 'k', %[1]s, %[2]s::json)`,
		"Queue":    `SELECT payment.append_queue('{1}', ARRAY[gen_random_uuid()], '{payment.refund}', '{k}', ARRAY[%[1]s], ARRAY[%[2]s])`,
		"Outbox": `INSERT INTO payment.outbox (topic, partition, "offset", id, type, key, payload, metadata)
			VALUES ('delivery.commands', 1, 1, gen_random_uuid(), 'delivery.ship', 'k', %[1]s, %[2]s::json)`,
	} {
		attempt := func(payload, metadata int) error {
			_, err := payment.ExecContext(t.Context(), fmt.Sprintf(statement, fmt.Sprintf(`convert_to(repeat('x', %d), 'UTF8')`, payload), fmt.Sprintf(`('"' || repeat('x', %d) || '"')`, metadata)))
			return err
		}
		require.NoError(t, attempt(largest, 100), name)
		require.NotNil(t, pq.As(attempt(largest+1, 100), pqerror.CheckViolation), name)
		require.NotNil(t, pq.As(attempt(1, 20_000), pqerror.CheckViolation), name)
		for word, long := range map[string]string{"payment.failed": strings.Repeat("t", bus.MaxType+1), "payment.refund": strings.Repeat("t", bus.MaxType+1), "delivery.ship": strings.Repeat("t", bus.MaxType+1), "'k'": "'" + strings.Repeat("k", bus.MaxKey+1) + "'", "{k}": "{" + strings.Repeat("k", bus.MaxKey+1) + "}"} {
			if before := statement; strings.Contains(before, word) {
				statement = strings.ReplaceAll(before, word, long)
				require.NotNil(t, pq.As(attempt(1, 100), pqerror.CheckViolation), "%s: %s", name, word)
				statement = before
			}
		}
	}
}
