package demo

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"millrace/modules/payment/gateway"
	"millrace/modules/payment/gateway/simulator"
)

// completedGoods selects a completed payment of goods in the log.
const completedGoods = `SELECT id FROM payment.log WHERE type = 'payment.completed' AND key LIKE 'goods-%' ORDER BY partition, "offset" LIMIT 1`

// damages are planted bugs: the traces that a bug would leave in the tables, the
// check that must find it, and a part of the check's message.
var damages = []struct {
	name, check, message string
	statements           []string
}{
	{"OrderHasNoPayment", "IN", "has 0 payments", []string{
		`UPDATE payment.payments SET order_key = 'goods-other' WHERE order_key = (SELECT min(order_key) FROM payment.payments WHERE order_kind = 'goods')`}},
	{"ConsultationIsMissing", "IN", "consultations", []string{
		`ALTER TABLE consultation.history DROP CONSTRAINT history_consultation_id_fkey`, `ALTER TABLE consultation.deposit DROP CONSTRAINT deposit_consultation_id_fkey`,
		`DELETE FROM consultation.consultation WHERE id = (SELECT min(id) FROM consultation.consultation)`}},

	{"EventOfCompletedPaymentIsMissing", "S1", "0 in the log, and 1 due", []string{`DELETE FROM payment.log WHERE id = (` + completedGoods + `)`}},
	{"PaymentWasCompletedTwiceInLog", "S1", "2 in the log, and 1 due", []string{
		`INSERT INTO payment.log (partition, "offset", id, type, key, payload, metadata)
		 SELECT partition, 1000000, gen_random_uuid(), type, key, payload, metadata FROM payment.log WHERE id = (` + completedGoods + `)`}},
	{"FailedEventForCompletedPayment", "S1", "payment.failed", []string{`UPDATE payment.log SET type = 'payment.failed' WHERE id = (` + completedGoods + `)`}},
	{"ShippedEventIsMissing", "S1", "delivery.shipped", []string{`DELETE FROM delivery.log WHERE id = (SELECT id FROM delivery.log WHERE type = 'delivery.shipped' LIMIT 1)`}},
	{"EventOfMoveIsMissing", "S1", "moves", []string{
		`DELETE FROM consultation.log WHERE id = (SELECT id FROM consultation.log WHERE type = 'consultation.changed' AND convert_from(payload, 'UTF8')::jsonb ? 'stateTransition' LIMIT 1)`}},
	{"EventOfCardIsMissing", "S1", "inquiry.card_posted", []string{`DELETE FROM inquiry.log WHERE id = (SELECT id FROM inquiry.log WHERE type = 'inquiry.card_posted' LIMIT 1)`}},
	{"EventOfMailIsMissing", "S1", "notification.sent", []string{`DELETE FROM notification.log WHERE id = (SELECT id FROM notification.log LIMIT 1)`}},

	{"InboxHasNoUniqueConstraint", "S2", "no unique index", []string{`DROP INDEX delivery.inbox_once`}},
	{"InboxHasMessageTwice", "S2", "inbox row in delivery", []string{`DROP INDEX delivery.inbox_once`,
		`INSERT INTO delivery.inbox SELECT * FROM delivery.inbox LIMIT 1`}},
	{"OrderIsDeliveredTwice", "S2", "delivery of", []string{`ALTER TABLE delivery.deliveries DROP CONSTRAINT deliveries_order_key_key`,
		`INSERT INTO delivery.deliveries (id, order_key, user_id, payment_id, state) SELECT gen_random_uuid(), order_key, user_id, payment_id, 'awaiting_address' FROM delivery.deliveries LIMIT 1`}},
	{"MessageHasTwoNotifications", "S2", "notification for the same message", []string{`ALTER TABLE notification.notifications DROP CONSTRAINT notifications_cause_id_cause_type_key`,
		`INSERT INTO notification.notifications (id, cause_id, cause_type, user_id, template, subject, params, state)
		 SELECT gen_random_uuid(), cause_id, cause_type, user_id, template, subject, params, 'queued' FROM notification.notifications LIMIT 1`}},
	{"EventIsRecordedTwice", "S2", "record of", []string{`ALTER TABLE dataplatform.record DROP CONSTRAINT record_pkey`, `ALTER TABLE dataplatform.record DROP CONSTRAINT record_position_key`,
		`INSERT INTO dataplatform.record SELECT * FROM dataplatform.record LIMIT 1`}},
	{"MoveHasTwoCards", "S2", "card for the same move", []string{`ALTER TABLE inquiry.entry DROP CONSTRAINT entry_cause_id_key`,
		`INSERT INTO inquiry.entry (room_id, position, id, speaker, at, card, transition, actor, prev_state, cause_id)
		 SELECT room_id, 1000, gen_random_uuid(), speaker, at, card, transition, actor, prev_state, cause_id FROM inquiry.entry WHERE card IS NOT NULL LIMIT 1`}},
	{"PaymentWasCapturedTwice", "S2", "capture of", []string{
		`INSERT INTO payment.payment_history (payment_id, status, captured, refunded, cause)
		 SELECT payment_id, status, captured, refunded, cause FROM payment.payment_history WHERE status = 'completed' LIMIT 1`}},

	{"InboxRowOfDeliveryIsMissing", "S3", "delivery: payment.completed", []string{`DELETE FROM delivery.inbox WHERE message_id = (` + completedGoods + `)`}},
	{"InboxRowOfNotificationIsMissing", "S3", "its effect and no inbox row", []string{`DELETE FROM notification.inbox WHERE message_id = (` + completedGoods + `)`}},
	{"InboxRowOfRecordIsMissing", "S3", "dataplatform: payment.completed", []string{`DELETE FROM dataplatform.inbox WHERE message_id = (` + completedGoods + `)`}},
	{"InboxRowOfCardIsMissing", "S3", "inquiry: consultation", []string{
		`DELETE FROM inquiry.inbox WHERE message_id = (SELECT cause_id FROM inquiry.entry WHERE cause_id IS NOT NULL LIMIT 1)`}},
	{"NotificationOfHandledMessageIsMissing", "S3", "an inbox row and no effect", []string{`DELETE FROM notification.notifications WHERE cause_id = (` + completedGoods + `)`}},
	{"RecordOfHandledMessageIsMissing", "S3", "an inbox row and no effect", []string{`DELETE FROM dataplatform.record WHERE message_id = (` + completedGoods + `)`}},
	{"DeliveryOfHandledMessageIsMissing", "S3", "an inbox row and no effect", []string{`DELETE FROM delivery.history WHERE cause_id = (` + completedGoods + `)`}},
	{"CardOfHandledMessageIsMissing", "S3", "an inbox row and no effect", []string{`DELETE FROM inquiry.entry WHERE id = (SELECT id FROM inquiry.entry WHERE cause_id IS NOT NULL LIMIT 1)`}},
	{"DepositOfHandledMessageIsMissing", "S3", "consultation: payment.completed", []string{`DELETE FROM consultation.deposit WHERE payment_id = (SELECT payment_id FROM consultation.deposit LIMIT 1)`}},
	{"RefundOfHandledMessageIsMissing", "S3", "payment: payment.refund", []string{`DELETE FROM payment.refunds WHERE refund_id = (SELECT refund_id FROM payment.refunds LIMIT 1)`}},
	{"HandledMessageDoesNotExist", "S3", "no such message is there", []string{`UPDATE payment.log SET id = gen_random_uuid() WHERE id = (` + completedGoods + `)`}},
	{"MessageIsHandledAndParked", "S3", "is retry_scheduled, and has an inbox row", []string{parked("retry_scheduled", "clock_timestamp()")}},

	{"LogHasGap", "S4", "payment.events, partition", []string{
		`DELETE FROM payment.log WHERE (partition, "offset") = (SELECT partition, max("offset") - 1 FROM payment.log GROUP BY partition HAVING max("offset") > 1 LIMIT 1)`}},
	{"QueueHasGap", "S4", "notification.commands, partition", []string{
		`DELETE FROM notification.queue WHERE (partition, "offset") = (SELECT partition, max("offset") - 1 FROM notification.queue GROUP BY partition HAVING count(*) > 2 LIMIT 1)`}},
	{"LaterMessageOfKeyTookEffectFirst", "S4", "before an earlier one", []string{
		`UPDATE dataplatform.inbox SET handled_at = handled_at + interval '1 hour' WHERE topic = 'delivery.events' AND (partition, "offset") = (
			SELECT partition, min("offset") FROM delivery.log GROUP BY partition, key HAVING count(*) > 1 LIMIT 1)`}},
	{"MessageOvertookDeadLetterOfItsKey", "S4", "is dead", []string{
		`INSERT INTO delivery.parked_messages (subscriber, topic, partition, "offset", message_id, type, key, payload, metadata, state, attempts, kind, error)
		 SELECT 'delivery', 'payment.events', partition, "offset" - 1, gen_random_uuid(), type, key, payload, metadata, 'dead', 5, 'unknown', 'planted' FROM payment.log WHERE id = (` + completedGoods + `)`}},
	{"TwoCardsAreInWrongOrder", "S4", "moves with a card", []string{`ALTER TABLE inquiry.entry DROP CONSTRAINT entry_pkey`,
		`UPDATE inquiry.entry e SET position = 1001 - position WHERE room_id = (
			SELECT room_id FROM inquiry.entry WHERE card IS NOT NULL GROUP BY room_id HAVING count(DISTINCT card) > 2 LIMIT 1)`}},
	{"MoveStartsInWrongState", "S4", "but the one before went to", []string{
		`UPDATE consultation.history SET from_status = 'HOLD' WHERE (consultation_id, position) = (SELECT consultation_id, max(position) FROM consultation.history GROUP BY 1 HAVING max(position) > 2 LIMIT 1)`}},
	{"ConsultationDiffersFromItsHistory", "S4", "its history ends with", []string{
		`UPDATE consultation.consultation SET moves = moves + 1 WHERE id = (SELECT min(id) FROM consultation.consultation)`}},
	{"DeliverySkippedState", "S4", "but it was", []string{`DELETE FROM delivery.history WHERE id = (SELECT id FROM delivery.history WHERE action = 'ship' LIMIT 1)`}},
	{"PaymentsMoneyMovedWithoutHistory", "S4", "its history ends with", []string{
		`ALTER TABLE payment.payments DROP CONSTRAINT payments_money`, `UPDATE payment.payments SET captured = captured + 1 WHERE payment_id = (SELECT payment_id FROM payment.payments WHERE status = 'completed' LIMIT 1)`}},
	{"PaymentMadeForbiddenTransition", "S4", "went from", []string{
		`UPDATE payment.payment_history SET status = 'failed' WHERE history_id = (SELECT min(history_id) FROM payment.payment_history)`}},

	{"MoneyHasNoCheckConstraint", "S5", "no valid CHECK", []string{`ALTER TABLE payment.payments DROP CONSTRAINT payments_money`}},
	{"MoneyHasWeakerCheckConstraint", "S5", "no valid CHECK", []string{`ALTER TABLE payment.payments DROP CONSTRAINT payments_money`,
		`ALTER TABLE payment.payments ADD CONSTRAINT payments_money CHECK (0 <= refunded AND captured <= amount)`}},
	{"MoneyColumnIsNotInteger", "S5", "payment.payment_history.captured is numeric", []string{`ALTER TABLE payment.payment_history ALTER captured TYPE numeric`}},
	{"MoreWasRefundedThanCaptured", "S5", "refunded 1000000000000", []string{`ALTER TABLE payment.payments DROP CONSTRAINT payments_money, DROP CONSTRAINT payments_refunded`,
		`UPDATE payment.payments SET refunded = 1000000000000 WHERE payment_id = (SELECT payment_id FROM payment.payments WHERE status = 'refunded' LIMIT 1)`}},
	{"MoreWasRefundedThanCapturedInHistory", "S5", "after change", []string{
		`UPDATE payment.payment_history SET refunded = captured + 1 WHERE history_id = (SELECT max(history_id) FROM payment.payment_history WHERE status = 'refunding')`}},
	{"CaptureHasNoHistoryRow", "S5", "in one", []string{`DELETE FROM payment.payment_history WHERE captured > 0 AND refunded = 0 AND payment_id = (
		SELECT payment_id FROM payment.payments WHERE status = 'refunded' LIMIT 1)`}},
	{"LastChangeHasNoHistoryRow", "S5", "its history ends with", []string{
		`DELETE FROM payment.payment_history WHERE history_id = (SELECT max(h.history_id) FROM payment.payment_history h JOIN payment.payments p USING (payment_id) WHERE p.status = 'completed')`}},

	{"WeCapturedAnotherAmount", "S6", "captured", []string{
		`ALTER TABLE payment.payments DROP CONSTRAINT payments_money`, `UPDATE payment.payments SET captured = captured + 1 WHERE payment_id = (SELECT payment_id FROM payment.payments WHERE status = 'completed' LIMIT 1)`}},
	{"GatewayRefundedMoreThanWe", "S6", "refunded", []string{
		`UPDATE payment.payments SET refunded = 0, status = 'completed' WHERE payment_id = (SELECT payment_id FROM payment.payments WHERE status = 'refunded' LIMIT 1)`}},

	{"MessageIsPending", "L1", "1 pending", []string{`UPDATE delivery.offsets SET committed_offset = committed_offset - 1 WHERE (topic, partition) = (SELECT topic, partition FROM delivery.offsets WHERE committed_offset > 0 LIMIT 1)`}},
	{"MessageIsLost", "L1", "1 LOST", []string{`DELETE FROM delivery.inbox WHERE message_id = (` + completedGoods + `)`}},
	{"MessageIsStillRetrying", "L1", "1 retrying", []string{parked("retry_scheduled", "clock_timestamp()")}},
	{"MessageIsDead", "L1", "1 dead", []string{parked("dead", "NULL")}},
	{"MessageIsBlockedBehindNothing", "L1", "1 blocked", []string{parked("blocked", "NULL")}},

	{"PaymentHasNoNotification", "L2", "0 notifications", []string{`DELETE FROM notification.notifications WHERE cause_id = (` + completedGoods + `)`}},
	{"NotificationWasNeverSent", "L2", "is queued after", []string{
		`UPDATE notification.notifications SET state = 'queued', sent_at = NULL WHERE cause_id = (` + completedGoods + `)`}},
	{"PaymentHasNoRecord", "L2", "0 records", []string{`DELETE FROM dataplatform.record WHERE message_id = (` + completedGoods + `)`}},
	{"RecordIsInNoFile", "DP", "is staged, and in no file", []string{
		`UPDATE dataplatform.record SET message_id = gen_random_uuid() WHERE message_id = (` + completedGoods + `)`}},
	{"FileHasUnknownRecord", "DP", "was never staged", []string{`DELETE FROM dataplatform.record WHERE message_id = (` + completedGoods + `)`}},
	{"GoodsHaveNoDelivery", "L2", "0 deliveries", []string{`UPDATE delivery.deliveries SET order_key = 'goods-other' WHERE order_key = (SELECT key FROM payment.log WHERE id = (` + completedGoods + `))`}},
}

// parked is a statement that parks a message although it was handled.
func parked(state, nextAt string) string {
	return `INSERT INTO delivery.parked_messages (subscriber, topic, partition, "offset", message_id, type, key, payload, metadata, state, attempts, next_attempt_at, kind, error)
		SELECT 'delivery', 'payment.events', partition, "offset", id, type, key, payload, metadata, '` + state + `', 1, ` + nextAt + `, 'unknown', 'planted' FROM payment.log WHERE id = (` + completedGoods + `)`
}

func TestChecks_PassAndFailOnPlantedBug(t *testing.T) {
	t.Parallel()
	p := playSmall(t, 60)

	result, err := p.check(t.Context(), p.orders, p.consultations)
	require.NoError(t, err, "%s", p.printed)
	require.True(t, result.OK)
	require.Zero(t, result.Lost)
	require.Zero(t, result.Doubled)
	require.Equal(t, 60, result.Orders)
	require.EqualValues(t, 12, result.Consultations)
	for _, part := range []string{"The timeline of order", "예약 접수 / Reservation received", "handled by delivery", "ok    L2"} {
		require.Contains(t, p.printed.String(), part)
	}
	require.NoError(t, p.program.Stop())

	seen := map[string]bool{}
	for _, d := range damages {
		t.Run(d.check+"_"+d.name, func(t *testing.T) {
			e := p.damaged(t, d.statements...)
			at := slices.IndexFunc(checks, func(c check) bool { return c.name == d.check })
			require.GreaterOrEqual(t, at, 0)
			offenders, err := checks[at].find(t.Context(), e)
			require.NoError(t, err)
			require.Contains(t, strings.Join(offenders, "\n"), d.message)
		})
		seen[d.check] = true
	}
	for _, c := range checks {
		require.True(t, seen[c.name], "no bug was planted for %s", c.name)
	}

	t.Run("S6_GatewayHasExtraCharge", func(t *testing.T) {
		e := p.damaged(t)
		at := slices.IndexFunc(e.book.Charges, func(c simulator.Charge) bool { return c.Status == gateway.Approved })
		again := e.book.Charges[at]
		again.TransactionKey = "another"
		e.book.Charges = append(e.book.Charges, again)
		offenders, err := booksAgree(t.Context(), e)
		require.NoError(t, err)
		require.Contains(t, strings.Join(offenders, "\n"), "was charged 2 times")
		require.Contains(t, strings.Join(offenders, "\n"), "which is not ours")
	})
	t.Run("S6_GatewayLacksCharge", func(t *testing.T) {
		e := p.damaged(t)
		e.book.Charges = e.book.Charges[1:]
		offenders, err := booksAgree(t.Context(), e)
		require.NoError(t, err)
		require.Len(t, offenders, 1)
	})
	t.Run("L2_MailIsMissing", func(t *testing.T) {
		e := p.damaged(t)
		e.mails = e.mails[1:]
		offenders, err := paymentsAreFollowed(t.Context(), e)
		require.NoError(t, err)
		require.Len(t, offenders, 1)
		require.Contains(t, offenders[0], "not in the mailbox")
	})
	t.Run("DP_FileIsDuplicatedAndAnotherDamaged", func(t *testing.T) {
		e := p.damaged(t)
		files, err := filepath.Glob(filepath.Join(e.files, "*.parquet"))
		require.NoError(t, err)
		whole, err := os.ReadFile(files[0])
		require.NoError(t, err)
		e.files = t.TempDir()
		for name, data := range map[string][]byte{"one": whole, "again": whole, "cut": whole[:len(whole)/2]} {
			require.NoError(t, os.WriteFile(filepath.Join(e.files, name+".parquet"), data, 0o600))
		}
		offenders, err := filesHaveEverything(t.Context(), e)
		require.NoError(t, err)
		all := strings.Join(offenders, "\n")
		require.Contains(t, all, "is in again.parquet and in one.parquet")
		require.Contains(t, all, "cut.parquet cannot be read")
	})
	t.Run("MeasureCountsLostAndDoubled", func(t *testing.T) {
		e := p.damaged(t, `DELETE FROM delivery.inbox WHERE message_id = (`+completedGoods+`)`,
			`INSERT INTO payment.payment_history (payment_id, status, captured, refunded, cause)
			 SELECT payment_id, status, captured, refunded, cause FROM payment.payment_history WHERE status = 'completed' LIMIT 1`)
		r, err := measure(t.Context(), e)
		require.NoError(t, err)
		require.EqualValues(t, 1, r.Lost)
		require.Equal(t, 1, r.Doubled)
	})
	t.Run("GW_GatewayNeverMisbehaved", func(t *testing.T) {
		e := p.damaged(t)
		e.book.Misbehaviours[simulator.Forged] = 0
		require.NotEmpty(t, gatewayMisbehaved(e.book).Offenders)
	})
}
