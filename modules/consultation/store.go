package consultation

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"time"

	"millrace/modules/consultation/consultationapi"
	"millrace/modules/payment/paymentapi"
	"millrace/platform/bus"
	"millrace/platform/errs"
)

const columns = `id, hospital_id, member_id, opened_by, status, reservation_at, visitor_name, phone, memo, moves, raised_at, changed_at`

func (c *consultation) scan(row *sql.Row, more ...any) error {
	err := row.Scan(append([]any{
		&c.id, &c.hospitalID, &c.memberID, &c.openedBy, &c.status, &c.reservationAt,
		&c.fields.visitorName, &c.fields.phone, &c.fields.memo, &c.moves, &c.raisedAt, &c.changedAt,
	}, more...)...)
	c.raisedAt, c.changedAt, c.reservationAt = c.raisedAt.UTC(), c.changedAt.UTC(), utc(c.reservationAt)
	return err
}

// insert writes a new consultation and returns it with its id and times.
func insert(ctx context.Context, tx *bus.Tx, c consultation) (consultation, error) {
	moves := 0
	if c.openedBy == consultationapi.Member {
		moves = 1
	}
	var made consultation
	err := made.scan(tx.QueryRowContext(ctx, `
		INSERT INTO consultation (hospital_id, member_id, opened_by, status, reservation_at, visitor_name, phone, memo, moves)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)
		RETURNING `+columns,
		c.hospitalID, c.memberID, c.openedBy, c.status, c.reservationAt, c.fields.visitorName, c.fields.phone, c.fields.memo, moves))
	return made, err
}

// lock reads a consultation and keeps others from changing it until the
// transaction ends, so that what is read stays the previous state.
func lock(ctx context.Context, tx *bus.Tx, id int64) (c consultation, err error) {
	err = c.scan(tx.QueryRowContext(ctx, `SELECT `+columns+` FROM consultation WHERE id = $1 FOR UPDATE`, id))
	if errors.Is(err, sql.ErrNoRows) {
		return c, notFound(id)
	}
	return c, err
}

func notFound(id int64) error { return errs.New(errs.NotFound, "there is no consultation %d", id) }

// update writes what may change and returns the row. The time of the change is
// read after the lock was had, and never goes back even if the clock does.
func update(ctx context.Context, tx *bus.Tx, c consultation) (consultation, error) {
	var now consultation
	err := now.scan(tx.QueryRowContext(ctx, `
		UPDATE consultation
		SET status = $2, reservation_at = $3, visitor_name = $4, phone = $5, memo = $6, moves = $7,
		    changed_at = greatest(changed_at, clock_timestamp())
		WHERE id = $1
		RETURNING `+columns,
		c.id, c.status, c.reservationAt, c.fields.visitorName, c.fields.phone, c.fields.memo, c.moves))
	return now, err
}

func insertMove(ctx context.Context, tx *bus.Tx, id int64, m move) error {
	_, err := tx.ExecContext(ctx, `
		INSERT INTO history (consultation_id, position, transition, actor, from_status, to_status, at, reservation_at)
		VALUES ($1, $2, $3, $4, nullif($5, ''), $6, $7, $8)`,
		id, m.Position, m.Transition, m.Actor, m.From, m.To, m.At, m.ReservationAt)
	return err
}

// moveAt reads one row of history.
func moveAt(ctx context.Context, tx *bus.Tx, id, position int64) (m move, err error) {
	err = tx.QueryRowContext(ctx, `
		SELECT position, transition, actor, coalesce(from_status, ''), to_status, at, reservation_at
		FROM history WHERE consultation_id = $1 AND position = $2`, id, position).
		Scan(&m.Position, &m.Transition, &m.Actor, &m.From, &m.To, &m.At, &m.ReservationAt)
	m.At, m.ReservationAt = m.At.UTC(), utc(m.ReservationAt)
	return m, err
}

// insertDeposit records a paid deposit; false when it was recorded before.
func insertDeposit(ctx context.Context, tx *bus.Tx, id int64, paid paymentapi.Completed) (bool, error) {
	result, err := tx.ExecContext(ctx, `
		INSERT INTO deposit (payment_id, consultation_id, amount, currency, state, paid_at)
		VALUES ($1, $2, $3, $4, 'paid', $5) ON CONFLICT (payment_id) DO NOTHING`,
		paid.PaymentID, id, paid.Amount, paid.Currency, paid.OccurredAt)
	if err != nil {
		return false, err
	}
	n, err := result.RowsAffected()
	return n == 1, err
}

// requestRefund marks the deposit of a consultation as to be refunded, if it is
// paid, and returns its payment; "" when there is nothing to give back. The
// caller has locked the consultation.
func requestRefund(ctx context.Context, tx *bus.Tx, id int64) (payment string, err error) {
	err = tx.QueryRowContext(ctx, `
		WITH asked AS (
			UPDATE deposit SET state = 'refund_requested', refund_requested_at = clock_timestamp()
			WHERE consultation_id = $1 AND state = 'paid'
			RETURNING payment_id)
		SELECT coalesce(max(payment_id::text), '') FROM asked`, id).Scan(&payment)
	return payment, err
}

// recordRefund marks a deposit as given back. One that was never recorded as
// paid is NotFound.
func recordRefund(ctx context.Context, tx *bus.Tx, refunded paymentapi.Refunded) error {
	result, err := tx.ExecContext(ctx, `
		UPDATE deposit SET state = 'refunded', refund_id = $2, refunded_at = coalesce(refunded_at, $3)
		WHERE payment_id = $1`,
		refunded.PaymentID, refunded.RefundID, refunded.OccurredAt)
	if err != nil {
		return err
	}
	if n, err := result.RowsAffected(); err != nil || n == 1 {
		return err
	}
	return errs.New(errs.NotFound, "payment %s of %s was refunded but never recorded as paid", refunded.PaymentID, refunded.OrderKey)
}

// record is a consultation with all that is told about it.
type record struct {
	consultation
	history  []move
	deposits []deposit
}

// deposit is one payment for a consultation, as it is told.
type deposit struct {
	PaymentID string `json:"paymentId"`
	Amount    int64  `json:"amount" doc:"Minor units of the currency"`
	Currency  string `json:"currency" doc:"ISO 4217"`
	State     string `json:"state" enum:"paid,refund_requested,refunded"`
}

// queryer is a transaction, or the database outside of one.
type queryer interface {
	QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row
}

// asMade is what is told of a consultation that was made just now.
func asMade(c consultation) record {
	c.changedAt = c.raisedAt
	r := record{consultation: c, history: []move{}, deposits: []deposit{}}
	if c.openedBy == consultationapi.Member {
		r.history = append(r.history, booking(c))
	}
	return r
}

// raised reads what a row of a consultation keeps from when it was made and its
// request does not say.
func raised(ctx context.Context, tx *bus.Tx, id int64) (same int64, at time.Time, err error) {
	err = tx.QueryRowContext(ctx, `SELECT id, raised_at FROM consultation WHERE id = $1`, id).Scan(&same, &at)
	return same, at.UTC(), err
}

// read returns a consultation, its history and its deposits as they were at one
// instant: it is one statement.
func read(ctx context.Context, from queryer, id int64) (r record, err error) {
	var history, deposits []byte
	err = r.scan(from.QueryRowContext(ctx, `
		SELECT `+columns+`,
			(SELECT coalesce(jsonb_agg(jsonb_build_object(
				'position', position, 'transition', transition, 'actor', actor, 'from', coalesce(from_status, ''),
				'to', to_status, 'at', at, 'reservationAt', h.reservation_at) ORDER BY position), '[]')
			 FROM history h WHERE h.consultation_id = c.id),
			(SELECT coalesce(jsonb_agg(jsonb_build_object(
				'paymentId', payment_id, 'amount', amount, 'currency', currency, 'state', state) ORDER BY paid_at, payment_id), '[]')
			 FROM deposit d WHERE d.consultation_id = c.id)
		FROM consultation c WHERE id = $1`, id), &history, &deposits)
	if errors.Is(err, sql.ErrNoRows) {
		return r, notFound(id)
	}
	if err != nil {
		return r, err
	}
	err = errors.Join(json.Unmarshal(history, &r.history), json.Unmarshal(deposits, &r.deposits))
	for i := range r.history {
		m := &r.history[i]
		m.At, m.ReservationAt = m.At.UTC(), utc(m.ReservationAt)
	}
	return r, err
}

// utc gives a time as the database session says it the zone that is told to others.
func utc(t *time.Time) *time.Time {
	if t == nil {
		return nil
	}
	at := t.UTC()
	return &at
}
