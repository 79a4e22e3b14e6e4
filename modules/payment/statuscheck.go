package payment

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"millrace/platform/bus"
	"millrace/platform/errs"
)

const (
	// checksPerRound limits the status checks that one transaction records.
	checksPerRound = 500
	// longestGap is the longest time between two status checks of a payment.
	longestGap = time.Hour
	// unknownAfter is the number of status checks without a result after which the
	// payment is listed for a person.
	unknownAfter = 2
	// longWait is the time without a result after which a payment or refund is listed
	// for a person, even if the gateway answers that it is pending.
	longWait = 24 * time.Hour
)

// run makes outbound calls and status checks until ctx is done.
func (s *service) run(ctx context.Context) error {
	done := make(chan error, 2)
	go func() { done <- s.outbound.charges.Run(ctx) }()
	go func() { done <- s.outbound.refunds.Run(ctx) }()
	look := time.NewTicker(s.outbound.firstCheckAfter / 2)
	defer look.Stop()
	for {
		select {
		case <-ctx.Done():
			return errors.Join(<-done, <-done)
		case <-look.C:
			if err := s.startStatusChecks(ctx, s.outbound.firstCheckAfter); err != nil && errs.KindOf(err) != errs.Shutdown {
				slog.WarnContext(ctx, "status checks not started; they are tried again", "error", err)
			}
		}
	}
}

// startStatusChecks records the status checks that are due: the first one after
// the given time without a result, each next one after twice as long, at most an
// hour. A result is missing if a callback was lost or if the gateway was down for
// longer than a call is retried. Processes may run this concurrently: each takes
// different rows.
func (s *service) startStatusChecks(ctx context.Context, after time.Duration) error {
	err := s.db.InTx(ctx, func(tx *bus.Tx) error {
		waiting, err := takeUnanswered(ctx, tx, after)
		for _, p := range waiting {
			if err == nil {
				err = s.outbound.check(ctx, tx, p)
			}
		}
		return err
	})
	if err != nil {
		return err
	}
	return s.db.InTx(ctx, func(tx *bus.Tx) error {
		waiting, err := takeUnansweredRefunds(ctx, tx, after)
		for _, w := range waiting {
			if err == nil {
				err = s.outbound.checkRefund(ctx, tx, w.payment, w.refund)
			}
		}
		if err != nil {
			return err
		}
		return listLongUnanswered(ctx, tx, longWait)
	})
}

// due returns the SQL condition that a status check of the row is due. $1 is the
// first interval and $2 the longest, in microseconds.
func due(row string) string {
	return row + `.asked_at <= now() - least($1 * 2.0 ^ least(` + row + `.checks, 20), $2) * interval '1 microsecond'`
}

// takeUnanswered returns the pending payments whose status check is due, and
// records that it is made now.
func takeUnanswered(ctx context.Context, tx *bus.Tx, after time.Duration) ([]*payment, error) {
	rows, err := tx.QueryContext(ctx, `
		WITH c AS (
			SELECT c.transaction_key FROM payments p JOIN charges c USING (payment_id)
			WHERE p.status = 'pending' AND `+due("c")+`
			ORDER BY c.asked_at LIMIT $3 FOR UPDATE OF c SKIP LOCKED
		)
		UPDATE charges SET asked_at = now(), checks = charges.checks + 1 FROM c, payments p
		WHERE charges.transaction_key = c.transaction_key AND p.payment_id = charges.payment_id
		RETURNING charges.transaction_key, charges.callback_url, p.order_key, p.amount, p.currency, p.method`,
		after.Microseconds(), longestGap.Microseconds(), checksPerRound)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var all []*payment
	for rows.Next() {
		p := &payment{}
		if err := rows.Scan(&p.TransactionKey, &p.CallbackURL, &p.OrderKey, &p.Amount, &p.Currency, &p.Method); err != nil {
			return nil, err
		}
		all = append(all, p)
	}
	return all, rows.Err()
}

// unanswered is a refund without a result, and its payment.
type unanswered struct {
	payment *payment
	refund  *refund
}

// takeUnansweredRefunds is takeUnanswered for refunds.
func takeUnansweredRefunds(ctx context.Context, tx *bus.Tx, after time.Duration) ([]unanswered, error) {
	rows, err := tx.QueryContext(ctx, `
		WITH r AS (
			SELECT refund_id FROM refunds
			WHERE status = 'asked' AND `+due("refunds")+`
			ORDER BY asked_at LIMIT $3 FOR UPDATE SKIP LOCKED
		)
		UPDATE refunds SET asked_at = now(), checks = refunds.checks + 1 FROM r, charges c, payments p
		WHERE refunds.refund_id = r.refund_id AND c.payment_id = refunds.payment_id AND p.payment_id = refunds.payment_id
		RETURNING refunds.refund_id, refunds.amount, c.transaction_key, coalesce(p.released_order_key, p.order_key), p.currency`,
		after.Microseconds(), longestGap.Microseconds(), checksPerRound)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var all []unanswered
	for rows.Next() {
		u := unanswered{&payment{}, &refund{}}
		if err := rows.Scan(&u.refund.ID, &u.refund.Amount, &u.payment.TransactionKey, &u.payment.OrderKey, &u.payment.Currency); err != nil {
			return nil, err
		}
		all = append(all, u)
	}
	return all, rows.Err()
}
