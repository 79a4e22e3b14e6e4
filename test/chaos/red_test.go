//go:build chaos

package chaos_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"millrace/test/ports"
)

// Plants one violation for each check of faults, and requires that the check finds it.
func TestFaults_EachCheckFindsAPlantedFault(t *testing.T) {
	t.Parallel()
	w := fresh(t)
	at := ports.Of(t)
	p := w.serve(at, "")
	l := w.load(3, at)
	l.accepts(60)
	l.accounted()
	p.stop()
	w.exec(`ALTER TABLE payment.payments DROP CONSTRAINT payments_money`)
	w.exec(`DROP INDEX payment.payments_one_per_order`)
	one := func(table, where string) string {
		return table + ` WHERE ctid = (SELECT ctid FROM ` + table + ` WHERE ` + where + ` LIMIT 1)`
	}
	for _, planted := range []struct{ fault, statement string }{
		{"lost on the way payment.events → delivery", `DELETE FROM ` + one("delivery.inbox", "topic = 'payment.events'")},
		{"handled though never said, delivery.events → notification", `INSERT INTO notification.inbox VALUES (gen_random_uuid(), 'notification', 'delivery.events', 1, 1)`},
		{"positions past the end, payment.events → delivery", `UPDATE delivery.offsets SET committed_offset = committed_offset + 1 WHERE topic = 'payment.events' AND partition = 7`},
		{"partitions with gaps in delivery.events", `DELETE FROM ` + one("delivery.log", `"offset" = 1 AND EXISTS (SELECT 1 FROM delivery.log l WHERE l.partition = log.partition AND l."offset" = 2)`)},
		{"deliveries that said something twice or not at all", `SELECT 1`},
		{"messages twice in payment.events", `INSERT INTO payment.log SELECT partition, (SELECT max("offset") + 1 FROM payment.log m WHERE m.partition = l.partition), id, type, key, payload, metadata FROM payment.log l WHERE type = 'payment.completed' LIMIT 1`},
		{"payments without one payment.completed", `SELECT 1`},
		{"messages aside at delivery", `INSERT INTO delivery.parked_messages (subscriber, topic, partition, "offset", message_id, type, key, payload, metadata, state, attempts, kind, error) VALUES ('delivery', 'payment.events', 1, 1, gen_random_uuid(), 'x', 'x', '', '{}', 'dead', 1, 'unknown', 'x')`},
		{"payments whose history ends elsewhere", `UPDATE payment.payments SET captured = captured - 1 WHERE payment_id = (SELECT payment_id FROM payment.payments WHERE status = 'completed' LIMIT 1)`},
		{"the gateway says", `SELECT 1`},
		{"orders paid twice", `INSERT INTO payment.payments SELECT (jsonb_populate_record(p, jsonb_build_object('payment_id', gen_random_uuid()))).* FROM payment.payments p WHERE status = 'completed' LIMIT 1`},
		{"paid goods without one delivery", `SELECT 1`},
		{"payments with payment.failed for nothing", `INSERT INTO payment.log SELECT partition, (SELECT max("offset") + 1 FROM payment.log m WHERE m.partition = l.partition), gen_random_uuid(), 'payment.failed', key, payload, metadata FROM payment.log l WHERE type = 'payment.completed' LIMIT 1`},
		{"deliveries of what is not paid", `UPDATE delivery.deliveries SET payment_id = 'x' WHERE id = (SELECT id FROM delivery.deliveries LIMIT 1)`},
		{"consultations that are not as their people left them", `UPDATE consultation.consultation SET moves = 3`},
		{"deposits that were taken and not given back", `UPDATE payment.payments SET status = 'completed', refunded = 0 WHERE status = 'refunded'`},
		{"moves without one card", `DELETE FROM ` + one("inquiry.entry", "cause_id IS NOT NULL")},
		{"events without one record", `DELETE FROM ` + one("dataplatform.record", "true")},
		{"records of no event", `UPDATE dataplatform.record SET message_id = gen_random_uuid() WHERE message_id = (SELECT message_id FROM dataplatform.record LIMIT 1)`},
		{"records without one file", `UPDATE dataplatform.record SET position = position + 1000000 WHERE message_id = (SELECT message_id FROM dataplatform.record LIMIT 1)`},
		{"mails that never arrived", `UPDATE notification.notifications SET id = gen_random_uuid() WHERE id = (SELECT id FROM notification.notifications LIMIT 1)`},
		{"notifications without one notification.sent", `SELECT 1`},
		{"messages that ask for a mail, without one notification", `UPDATE notification.notifications SET cause_id = gen_random_uuid() WHERE id = (SELECT id FROM notification.notifications LIMIT 1)`},
	} {
		w.exec(planted.statement)
		require.Contains(t, strings.Join(w.faults(l.goods, l.booked), "\n"), planted.fault)
	}
	written, err := filepath.Glob(filepath.Join(w.data, "*.parquet"))
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(written[0], nil, 0o600))
	found := strings.Join(w.faults(append(l.goods, "goods-nobody"), l.booked), "\n")
	require.Contains(t, found, "is not what was noted")
	require.Contains(t, found, "accepted orders without a payment")
}
