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

// lockOrder serializes the transactions that set an order's address and handle its
// payment. It locks the order key itself until the transaction ends, because there
// may be no row yet that both would lock.
func lockOrder(ctx context.Context, tx *bus.Tx, orderKey string) error {
	_, err := tx.ExecContext(ctx, `SELECT pg_advisory_xact_lock(hashtextextended('delivery of ' || $1, 0))`, orderKey)
	return err
}

const deliveryColumns = `d.id, d.order_key, d.user_id, d.payment_id, d.state, d.carrier, d.tracking_number, d.reason, d.created_at, d.updated_at, d.version`

// scanTargets returns the scan destinations of deliveryColumns.
func scanTargets(d *delivery) []any {
	return []any{&d.ID, &d.OrderKey, &d.UserID, &d.PaymentID, &d.State, &d.Carrier, &d.TrackingNumber, &d.Reason, &d.CreatedAt, &d.UpdatedAt, &d.Version}
}

// lockDelivery returns the order's delivery, locked, or one in state unpaid if
// there is none.
func lockDelivery(ctx context.Context, tx *bus.Tx, orderKey string) (d delivery, err error) {
	err = tx.QueryRowContext(ctx, `SELECT `+deliveryColumns+` FROM deliveries d WHERE order_key = $1 FOR UPDATE`, orderKey).Scan(scanTargets(&d)...)
	if errors.Is(err, sql.ErrNoRows) {
		return delivery{OrderKey: orderKey}, nil
	}
	return d, err
}

// lockMoving returns the prepared or shipped delivery with the oldest change,
// locked. It skips rows that other transactions have locked.
func lockMoving(ctx context.Context, tx *bus.Tx, resting time.Duration) (d delivery, found bool, err error) {
	err = tx.QueryRowContext(ctx, `
		SELECT `+deliveryColumns+` FROM deliveries d
		WHERE state IN ('prepared', 'shipped') AND updated_at <= now() - $1 * interval '1 millisecond'
		ORDER BY updated_at LIMIT 1 FOR UPDATE SKIP LOCKED`, resting.Milliseconds()).Scan(scanTargets(&d)...)
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
		UPDATE deliveries SET state = $2, carrier = $3, tracking_number = $4, reason = $5, version = version + 1, updated_at = now()
		WHERE id = $1`,
		d.ID, d.State, d.Carrier, d.TrackingNumber, d.Reason)
	return err
}

// touch increments the version of a locked delivery when only its history changes.
func touch(ctx context.Context, tx *bus.Tx, d delivery) error {
	_, err := tx.ExecContext(ctx, `UPDATE deliveries SET version = version + 1 WHERE id = $1`, d.ID)
	return err
}

// queryer is a transaction or a database.
type queryer interface {
	QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row
}

// findVersion returns the version of an order: the number of changes of its
// delivery and its address, 0 if it has neither.
func findVersion(ctx context.Context, from queryer, orderKey string) (version int64, err error) {
	err = from.QueryRowContext(ctx, `
		SELECT coalesce((SELECT version FROM deliveries WHERE order_key = $1), 0) + coalesce((SELECT version FROM addresses WHERE order_key = $1), 0)`,
		orderKey).Scan(&version)
	return version, err
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
			line1 = EXCLUDED.line1, line2 = EXCLUDED.line2, city = EXCLUDED.city, country = EXCLUDED.country, version = addresses.version + 1, updated_at = now()`,
		orderKey, a.Name, a.Phone, a.Postcode, a.Line1, a.Line2, a.City, a.Country)
	return err
}

// readDelivery returns an order's delivery, its version, and its newest changes,
// newest first, at most limit. It is one statement, and so one snapshot.
func readDelivery(ctx context.Context, db *bus.DB, orderKey string, limit int) (d delivery, version int64, history []change, err error) {
	rows, err := db.QueryContext(ctx, `
		SELECT `+deliveryColumns+`, d.version + coalesce(a.version, 0), h.action, h.from_state, h.to_state, h.note, h.cause_id, h.at
		FROM deliveries d CROSS JOIN LATERAL (SELECT * FROM history WHERE delivery_id = d.id ORDER BY id DESC LIMIT $2) h
			LEFT JOIN addresses a ON a.order_key = d.order_key
		WHERE d.order_key = $1 ORDER BY h.id DESC`, orderKey, limit)
	if err != nil {
		return d, 0, nil, err
	}
	defer rows.Close()
	for rows.Next() {
		var c change
		if err := rows.Scan(append(scanTargets(&d), &version, &c.Action, &c.From, &c.To, &c.Note, &c.CauseID, &c.At)...); err != nil {
			return d, 0, nil, err
		}
		history = append(history, c)
	}
	if err := rows.Err(); err != nil {
		return d, 0, nil, err
	}
	if len(history) == 0 {
		return d, 0, nil, errs.New(errs.NotFound, "order %s has no delivery; it begins when the order is paid", orderKey)
	}
	return d, version, history, nil
}
