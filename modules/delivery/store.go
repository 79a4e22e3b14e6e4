package delivery

import (
	"context"
	"database/sql"
	"errors"
	"time"

	"github.com/google/uuid"

	"millrace/platform/bus"
	"millrace/platform/errs"
)

// lockOrder lets one transaction at a time decide what an address and a payment
// mean for an order. Either may come first and there is no row yet that both
// would meet at, so the lock is on the key itself. It ends with the transaction.
func lockOrder(ctx context.Context, tx *bus.Tx, orderKey string) error {
	_, err := tx.ExecContext(ctx, `SELECT pg_advisory_xact_lock(hashtextextended('delivery of ' || $1, 0))`, orderKey)
	return err
}

const deliveryColumns = `d.id, d.order_key, d.user_id, d.payment_id, d.state, d.carrier, d.tracking_number, d.reason, d.created_at, d.updated_at`

// into is where a row of deliveryColumns goes.
func into(d *delivery) []any {
	return []any{&d.ID, &d.OrderKey, &d.UserID, &d.PaymentID, &d.State, &d.Carrier, &d.TrackingNumber, &d.Reason, &d.CreatedAt, &d.UpdatedAt}
}

// lockDelivery returns the order's delivery, locked; its state is unpaid when
// there is none.
func lockDelivery(ctx context.Context, tx *bus.Tx, orderKey string) (d delivery, err error) {
	err = tx.QueryRowContext(ctx, `SELECT `+deliveryColumns+` FROM deliveries d WHERE order_key = $1 FOR UPDATE`, orderKey).Scan(into(&d)...)
	if errors.Is(err, sql.ErrNoRows) {
		return delivery{OrderKey: orderKey}, nil
	}
	return d, err
}

// lockMoving returns the delivery that has waited longest for a warehouse or a
// carrier, locked; ones that another transaction holds are passed over.
func lockMoving(ctx context.Context, tx *bus.Tx, resting time.Duration) (d delivery, found bool, err error) {
	err = tx.QueryRowContext(ctx, `
		SELECT `+deliveryColumns+` FROM deliveries d
		WHERE state IN ('prepared', 'shipped') AND updated_at <= now() - $1 * interval '1 millisecond'
		ORDER BY updated_at LIMIT 1 FOR UPDATE SKIP LOCKED`, resting.Milliseconds()).Scan(into(&d)...)
	if errors.Is(err, sql.ErrNoRows) {
		return d, false, nil
	}
	return d, err == nil, err
}

func insertDelivery(ctx context.Context, tx *bus.Tx, d delivery) error {
	_, err := tx.ExecContext(ctx, `
		INSERT INTO deliveries (id, order_key, user_id, payment_id, state, carrier, tracking_number, reason)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8)`,
		d.ID, d.OrderKey, d.UserID, d.PaymentID, d.State, d.Carrier, d.TrackingNumber, d.Reason)
	return err
}

func updateDelivery(ctx context.Context, tx *bus.Tx, d delivery) error {
	_, err := tx.ExecContext(ctx, `
		UPDATE deliveries SET state = $2, carrier = $3, tracking_number = $4, reason = $5, updated_at = now() WHERE id = $1`,
		d.ID, d.State, d.Carrier, d.TrackingNumber, d.Reason)
	return err
}

func insertHistory(ctx context.Context, tx *bus.Tx, d delivery, a action, from state, note string) error {
	var cause *uuid.UUID
	if id := tx.Cause().ID; id != uuid.Nil {
		cause = &id
	}
	_, err := tx.ExecContext(ctx, `
		INSERT INTO history (delivery_id, action, from_state, to_state, note, cause_id) VALUES ($1, $2, $3, $4, $5, $6)`,
		d.ID, a, from, d.State, note, cause)
	return err
}

func nextTrackingNumber(ctx context.Context, tx *bus.Tx) (n int64, err error) {
	err = tx.QueryRowContext(ctx, `SELECT nextval('tracking_numbers')`).Scan(&n)
	return n, err
}

func findAddress(ctx context.Context, tx *bus.Tx, orderKey string) (a address, found bool, err error) {
	err = tx.QueryRowContext(ctx, `
		SELECT name, phone, postcode, line1, line2, city, country FROM addresses WHERE order_key = $1`, orderKey).
		Scan(&a.Name, &a.Phone, &a.Postcode, &a.Line1, &a.Line2, &a.City, &a.Country)
	if errors.Is(err, sql.ErrNoRows) {
		return a, false, nil
	}
	return a, err == nil, err
}

func saveAddress(ctx context.Context, tx *bus.Tx, orderKey string, a address) error {
	_, err := tx.ExecContext(ctx, `
		INSERT INTO addresses (order_key, name, phone, postcode, line1, line2, city, country)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
		ON CONFLICT (order_key) DO UPDATE SET name = EXCLUDED.name, phone = EXCLUDED.phone, postcode = EXCLUDED.postcode,
			line1 = EXCLUDED.line1, line2 = EXCLUDED.line2, city = EXCLUDED.city, country = EXCLUDED.country, updated_at = now()`,
		orderKey, a.Name, a.Phone, a.Postcode, a.Line1, a.Line2, a.City, a.Country)
	return err
}

// readDelivery returns an order's delivery and its history, oldest first, as
// they were at one instant.
func readDelivery(ctx context.Context, db *bus.DB, orderKey string) (d delivery, history []change, err error) {
	rows, err := db.QueryContext(ctx, `
		SELECT `+deliveryColumns+`, h.action, h.from_state, h.to_state, h.note, h.cause_id, h.at
		FROM deliveries d JOIN history h ON h.delivery_id = d.id
		WHERE d.order_key = $1 ORDER BY h.id`, orderKey)
	if err != nil {
		return d, nil, err
	}
	defer rows.Close()
	for rows.Next() {
		var c change
		if err := rows.Scan(append(into(&d), &c.Action, &c.From, &c.To, &c.Note, &c.CauseID, &c.At)...); err != nil {
			return d, nil, err
		}
		history = append(history, c)
	}
	if err := rows.Err(); err != nil {
		return d, nil, err
	}
	if len(history) == 0 {
		return d, nil, errs.New(errs.NotFound, "order %s has no delivery; it begins when the order is paid", orderKey)
	}
	return d, history, nil
}
