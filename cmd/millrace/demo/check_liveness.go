package demo

import (
	"context"
	"fmt"
	"strings"
)

// nothingIsLeft finds messages that a subscriber has not finished, and numbers of the
// tally that do not add up.
func nothingIsLeft(ctx context.Context, e *evidence) (all []string, err error) {
	for _, t := range e.tallies {
		for what, n := range map[string]int64{
			"pending": t.Pending, "retrying": t.Retrying, "blocked without a dead letter before": t.Held - t.HeldByDead, "dead": t.Dead, "LOST": t.Lost,
		} {
			if n != 0 {
				all = append(all, fmt.Sprintf("%s, %s: %d %s", t.Subscriber, t.Topic, n, what))
			}
		}
		if t.residual() != 0 {
			all = append(all, fmt.Sprintf("%s, %s: %d of %d messages are in no column", t.Subscriber, t.Topic, t.residual(), t.Messages))
		}
	}
	for _, module := range e.topo.Modules() {
		if all, err = askFor(ctx, e.db, all, fmt.Sprintf(`
			SELECT format('%[1]s: %%s %%s of %%s: %%s (%%s)', state, type, key, left(error, 200), kind) FROM %[1]s.parked_messages WHERE state = 'dead' ORDER BY id LIMIT 20`, module)); err != nil {
			return nil, err
		}
	}
	return all, nil
}

// paymentsAreFollowed finds completed payments without a notification, record or
// delivery, and notifications whose mail did not arrive.
func paymentsAreFollowed(ctx context.Context, e *evidence) ([]string, error) {
	all, err := sentences(ctx, e.db,
		`SELECT format('payment of %s: %s notifications that were sent, not one', l.key, count(n.id))
		FROM payment.log l LEFT JOIN notification.notifications n ON n.cause_id = l.id AND n.state = 'sent' AND n.attempts >= 1
		WHERE l.type = 'payment.completed' GROUP BY l.id, l.key HAVING count(n.id) <> 1`,
		`SELECT format('payment of %s: %s records, not one', l.key, count(r.message_id))
		FROM payment.log l LEFT JOIN dataplatform.record r ON r.message_id = l.id
		WHERE l.type = 'payment.completed' GROUP BY l.id, l.key HAVING count(r.message_id) <> 1`,
		`SELECT format('payment of %s: %s deliveries, not one', l.key, count(d.id))
		FROM payment.log l LEFT JOIN delivery.deliveries d ON d.order_key = l.key
		WHERE l.type = 'payment.completed' AND convert_from(l.payload, 'UTF8')::jsonb->>'orderKind' = 'goods'
		GROUP BY l.id, l.key HAVING count(d.id) <> 1`,
		`SELECT format('notification %s (%s of %s) is %s after %s attempts', id, template, subject, state, attempts)
		FROM notification.notifications WHERE state <> 'sent' OR attempts < 1`)
	if err != nil {
		return nil, err
	}
	received := map[string]bool{}
	for _, m := range e.mails {
		id, _, _ := strings.Cut(m.MessageID, "@")
		received[id] = true
	}
	rows, err := e.db.QueryContext(ctx, `SELECT coalesce(digest_id, id)::text, template, subject FROM notification.notifications WHERE state = 'sent'`)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		var id, template, subject string
		if err := rows.Scan(&id, &template, &subject); err != nil {
			return nil, err
		}
		if !received[id] {
			all = append(all, fmt.Sprintf("notification %s (%s of %s) is sent, and its mail is not in the mailbox", id, template, subject))
		}
	}
	return all, rows.Err()
}
