//go:build chaos

package chaos_test

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/stretchr/testify/require"

	"millrace/modules/payment/gateway"
	"millrace/platform/bus/store"
)

// flow is a topic, or one sender's part of it, and a module that subscribes to some
// of its types.
type flow struct{ module, topic, table, types string }

func (w *world) flows() (all []flow) {
	for _, module := range w.topo.Modules() {
		subscribed := map[string][]string{}
		for _, s := range w.topo.SubscriptionsOf(module) {
			topic := w.topo.TopicOf(s.Type)
			subscribed[topic] = append(subscribed[topic], s.Type)
		}
		for _, kept := range store.Everything(w.topo) {
			if types := subscribed[kept.Topic]; types != nil {
				all = append(all, flow{module, kept.Stream, "(SELECT * FROM " + kept.Table + ")", "'" + strings.Join(types, "','") + "'"})
			}
		}
	}
	return all
}

// quiet waits until no work is left: every subscriber has handled every message, and
// no retry, outbound call, payment, parcel, mail or file is pending.
func (w *world) quiet() {
	w.t.Helper()
	var waiting []string
	count := func(name, rows string) {
		waiting = append(waiting, fmt.Sprintf(`SELECT '%s' AS name, count(*) AS n FROM %s`, name, rows))
	}
	for _, module := range w.topo.Modules() {
		count(module+" aside", module+`.parked_messages WHERE state IN ('retry_scheduled', 'blocked', 'awaiting_version')`)
		count(module+" outbound calls", module+`.outbound_calls WHERE state IN ('pending', 'leased')`)
	}
	for _, f := range w.flows() {
		count(f.module+" behind in "+f.topic, fmt.Sprintf(`%s l LEFT JOIN %s.offsets p ON p.subscriber = '%[2]s' AND p.topic = '%s' AND p.partition = l.partition WHERE l."offset" > coalesce(p.committed_offset, 0)`,
			f.table, f.module, f.topic))
	}
	count("payments open", `payment.payments WHERE status IN ('pending', 'refunding')`)
	count("refunds open", `payment.refunds WHERE status IN ('waiting', 'asked')`)
	count("parcels moving", `delivery.deliveries WHERE state IN ('awaiting_address', 'prepared', 'shipped')`)
	count("mails unsent", `notification.notifications WHERE state <> 'sent'`)
	count("records in no file", `dataplatform.record WHERE position IS NULL`)
	count("files unwritten", `dataplatform.file WHERE written_at IS NULL`)
	w.becomes("", `SELECT coalesce(string_agg(name || ' ' || n, ', '), '') FROM (`+strings.Join(waiting, " UNION ALL ")+`) waiting WHERE n > 0`)
}

// faults returns everything that is wrong in a quiet world, as sentences. It checks
// the outcome of every accepted order and consultation, each message for each
// subscriber, and that each effect has its cause.
func (w *world) faults(goods, booked []string) (faults []string) {
	w.t.Helper()
	none := func(what, rows string) {
		if n := w.one(`SELECT count(*) FROM ` + rows); n != "0" {
			faults = append(faults, what+": "+n)
		}
	}
	// oneEach requires exactly one effect for each cause; both queries return keys.
	oneEach := func(what, causes, effects string) {
		none(what, `(`+causes+`) c(k) LEFT JOIN (SELECT k, count(*) AS n FROM (`+effects+`) e(k) GROUP BY k) e USING (k) WHERE coalesce(n, 0) <> 1`)
	}
	without := func(what, effects, causes string) {
		none(what, `(`+effects+`) e(k) LEFT JOIN (SELECT DISTINCT k FROM (`+causes+`) c(k)) c ON c.k = e.k WHERE c.k IS NULL`)
	}
	field := func(name string) string { return `convert_from(payload, 'UTF8')::json->>'` + name + `'` }
	logs := []string{}
	for _, module := range w.topo.Modules() {
		logs = append(logs, `SELECT * FROM `+module+`.log`)
		none("messages aside at "+module+" (dead letters: "+w.one(`SELECT string_agg(type || ' ' || key || ': ' || error, '; ') FROM `+module+`.parked_messages`)+")", module+`.parked_messages`)
	}
	for _, kept := range store.Everything(w.topo) {
		none("partitions with gaps in "+kept.Stream, fmt.Sprintf(`(SELECT 1 FROM %s GROUP BY partition HAVING count(*) <> max("offset")) gaps`, kept.Table))
		if w.moved && strings.Contains(kept.Topic, ".commands") {
			continue // a command that moved to the other transport and back has two offsets in its topic
		}
		none("messages twice in "+kept.Stream, fmt.Sprintf(`(SELECT 1 FROM %s GROUP BY id HAVING count(*) > 1) twice`, kept.Table))
	}
	all := `(` + strings.Join(logs, " UNION ALL ") + `)`
	for _, f := range w.flows() {
		way := f.topic + " → " + f.module
		none("lost on the way "+way, fmt.Sprintf(`%s l LEFT JOIN %s.inbox i ON i.message_id = l.id AND i.subscriber = '%[2]s' WHERE l.type IN (%s) AND i.message_id IS NULL`, f.table, f.module, f.types))
		none("handled though never said, "+way, fmt.Sprintf(`%s.inbox i LEFT JOIN %s l ON l.id = i.message_id AND l.partition = i.partition AND l."offset" = i."offset" WHERE i.topic = '%s' AND l.id IS NULL`, f.module, f.table, f.topic))
		none("positions past the end, "+way, fmt.Sprintf(`%s.offsets p WHERE p.topic = '%s' AND p.committed_offset <> (SELECT coalesce(max("offset"), 0) FROM %s l WHERE l.partition = p.partition)`, f.module, f.topic, f.table))
	}

	// Orders.
	none("accepted orders without a payment", `unnest('{`+strings.Join(goods, ",")+`}'::text[]) o WHERE NOT EXISTS (SELECT 1 FROM payment.payments p WHERE p.order_key = o)`)
	none("orders paid twice", `(SELECT 1 FROM payment.payments WHERE captured > 0 GROUP BY order_key HAVING count(*) > 1) twice`)
	for status, event := range map[string]string{"captured > 0": "payment.completed", "status = 'failed'": "payment.failed", "refunded > 0": "payment.refunded"} {
		payments, events := `SELECT payment_id::text FROM payment.payments WHERE `+status, `SELECT `+field("paymentId")+` FROM payment.log WHERE type = '`+event+`'`
		oneEach("payments without one "+event, payments, events)
		without("payments with "+event+" for nothing", events, payments)
	}
	none("payments whose history ends elsewhere", `payment.payments p WHERE (p.status, p.captured, p.refunded) IS DISTINCT FROM (SELECT (h.status, h.captured, h.refunded) FROM payment.payment_history h WHERE h.payment_id = p.payment_id ORDER BY history_id DESC LIMIT 1)`)
	paid, delivered := `SELECT payment_id::text FROM payment.payments WHERE captured > 0 AND order_kind = 'goods'`, `SELECT payment_id FROM delivery.deliveries`
	oneEach("paid goods without one delivery", paid, delivered)
	without("deliveries of what is not paid", delivered, paid)
	none("deliveries that said something twice or not at all", `delivery.deliveries d LEFT JOIN (SELECT key, count(*) AS n, count(DISTINCT type) AS types FROM delivery.log GROUP BY key) l ON l.key = d.order_key WHERE (n, types) IS DISTINCT FROM (3, 3)`)

	// Consultations.
	none("consultations that are not as their people left them", `unnest('{`+strings.Join(booked, ",")+`}'::bigint[]) b WHERE NOT EXISTS (SELECT 1 FROM consultation.consultation c WHERE c.id = b AND c.status = 'CANCELED' AND c.moves IN (2, 3) AND c.moves = (SELECT count(*) FROM consultation.history h WHERE h.consultation_id = b))`)
	none("deposits that were taken and not given back", `unnest('{`+strings.Join(booked, ",")+`}'::bigint[]) b JOIN payment.payments p ON p.order_key = 'deposit-' || b WHERE p.status = 'completed'`)
	oneEach("moves without one card", `SELECT id FROM consultation.log`, `SELECT cause_id FROM inquiry.entry`)

	// What leaves the program: mails, events for the data platform, files.
	oneEach("messages that ask for a mail, without one notification", `SELECT id FROM (SELECT id, type FROM payment.log UNION ALL SELECT id, type FROM delivery.log UNION ALL SELECT id, type FROM notification.queue UNION ALL SELECT id, type FROM inquiry.outbox) l
		WHERE type IN ('payment.completed', 'payment.failed', 'payment.refunded', 'delivery.shipped', 'delivery.delivered', 'notification.send')`, `SELECT cause_id FROM notification.notifications`)
	oneEach("notifications without one notification.sent", `SELECT id::text FROM notification.notifications`, `SELECT `+field("notificationId")+` FROM notification.log WHERE type = 'notification.sent'`)
	oneEach("events without one record", `SELECT id FROM `+all+` l`, `SELECT message_id FROM dataplatform.record`)
	without("records of no event", `SELECT message_id FROM dataplatform.record`, `SELECT id FROM `+all+` l`)
	none("records without one file", `dataplatform.record r WHERE 1 <> (SELECT count(*) FROM dataplatform.file f WHERE r.position BETWEEN f.first_position AND f.last_position)`)
	faults = append(faults, w.filesDiffer()...)
	faults = append(faults, w.mailsMissing()...)
	return append(faults, w.bookDiffers()...)
}

// filesDiffer compares the files with their records in the database.
func (w *world) filesDiffer() (faults []string) {
	rows, err := w.db.QueryContext(w.t.Context(), `SELECT first_position, last_position, sha256 FROM dataplatform.file`)
	require.NoError(w.t, err)
	defer rows.Close()
	noted := 0
	for rows.Next() {
		var first, last int64
		var sum string
		require.NoError(w.t, rows.Scan(&first, &last, &sum))
		name := fmt.Sprintf("events-%012d-%012d.parquet", first, last)
		noted++
		content, err := os.ReadFile(filepath.Join(w.data, name))
		if actual := sha256.Sum256(content); err != nil || hex.EncodeToString(actual[:]) != sum {
			faults = append(faults, fmt.Sprintf("file %s is not what was noted (%v)", name, err))
		}
	}
	require.NoError(w.t, rows.Err())
	found, err := filepath.Glob(filepath.Join(w.data, "*.parquet"))
	require.NoError(w.t, err)
	if len(found) != noted {
		faults = append(faults, fmt.Sprintf("%d files are there, %d are noted", len(found), noted))
	}
	return faults
}

// mailsMissing requires at least one mail in the mailbox for each sent notification.
func (w *world) mailsMissing() (faults []string) {
	arrived := map[string]bool{}
	for _, m := range w.inbox.Messages() {
		id, _, _ := strings.Cut(m.MessageID, "@")
		arrived[id] = true
	}
	rows, err := w.db.QueryContext(w.t.Context(), `SELECT coalesce(digest_id, id)::text FROM notification.notifications WHERE state = 'sent'`)
	require.NoError(w.t, err)
	defer rows.Close()
	missing := 0
	for rows.Next() {
		var id string
		require.NoError(w.t, rows.Scan(&id))
		if !arrived[id] {
			missing++
		}
	}
	require.NoError(w.t, rows.Err())
	if missing > 0 {
		faults = append(faults, fmt.Sprintf("mails that never arrived: %d", missing))
	}
	return faults
}

// bookDiffers compares the gateway's charges with the payments: the same amounts on
// both sides, and at most one successful charge for an order.
func (w *world) bookDiffers() (faults []string) {
	charged := map[string]int{}
	for _, charge := range w.gateway.Book().Charges {
		var taken int64
		if charge.Status == gateway.Approved {
			charged[charge.OrderKey]++
			taken = charge.Amount
		}
		theirs := fmt.Sprintf("%d taken, %d given back", taken, charge.Refunded)
		ours := w.one(`SELECT coalesce(max(p.captured || ' taken, ' || p.refunded || ' given back'), 'no such payment') FROM payment.charges c JOIN payment.payments p USING (payment_id) WHERE c.transaction_key = $1`, charge.TransactionKey)
		if ours != theirs {
			history := w.one(`SELECT string_agg(concat_ws(' ', h.status, h.captured, h.refunded, h.cause, h.detail), '; ' ORDER BY history_id) FROM payment.charges c JOIN payment.payment_history h USING (payment_id) WHERE c.transaction_key = $1`, charge.TransactionKey)
			faults = append(faults, fmt.Sprintf("the gateway says of %s (%s, asked %d times): %s; the payment says: %s (%s)", charge.OrderKey, charge.Status, charge.Asked, theirs, ours, history))
		}
	}
	for order, times := range charged {
		if times > 1 {
			faults = append(faults, fmt.Sprintf("order %s was charged %d times", order, times))
		}
	}
	return faults
}
