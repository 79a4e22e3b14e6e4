package dispatch

import (
	"context"
	"errors"
	"time"

	"github.com/google/uuid"

	"millrace/platform/bus"
)

// row is what a worker holds of an intent.
type row struct {
	id          uuid.UUID
	key         string
	payload     []byte
	correlation string
	attempts    int       // including the call about to be made
	lease       uuid.UUID // of this claim alone: the fence
}

// errFenced says that the lease was taken over, or that the intent is finished.
var errFenced = errors.New("the lease is no longer ours")

func insert(ctx context.Context, tx *bus.Tx, r row, name string) error {
	_, err := tx.ExecContext(ctx,
		`INSERT INTO dispatch (id, name, key, payload, correlation) VALUES ($1, $2, $3, $4, $5)`,
		r.id, name, r.key, string(r.payload), r.correlation)
	return err
}

// due is the cheap question of the fallback poll; it reads one index entry.
func due(ctx context.Context, db *bus.DB, name string) (found bool, err error) {
	err = db.QueryRowContext(ctx,
		`SELECT EXISTS (SELECT 1 FROM dispatch WHERE name = $1 AND state IN ('pending', 'leased') AND next_at <= now())`,
		name).Scan(&found)
	return found, err
}

// claim takes up to limit intents that are due: waiting ones whose time has
// come, and leased ones whose lease has ended. One transaction; no waiting.
func claim(ctx context.Context, db *bus.DB, name string, limit int, lease time.Duration) (claimed []row, err error) {
	token, err := uuid.NewV7()
	if err != nil {
		return nil, err
	}
	err = db.InTx(ctx, func(tx *bus.Tx) error {
		rows, err := tx.QueryContext(ctx, `
			WITH picked AS MATERIALIZED (
				SELECT id FROM dispatch
				WHERE name = $1 AND state IN ('pending', 'leased') AND next_at <= now()
				ORDER BY next_at LIMIT $2
				FOR UPDATE SKIP LOCKED
			)
			UPDATE dispatch d
			SET state = 'leased', attempts = attempts + 1, lease_owner = $3,
			    next_at = now() + $4 * interval '1 millisecond'
			FROM picked WHERE d.id = picked.id
			RETURNING d.id, d.key, d.payload, d.correlation, d.attempts`,
			name, limit, token, lease.Milliseconds())
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			r := row{lease: token}
			if err := rows.Scan(&r.id, &r.key, &r.payload, &r.correlation, &r.attempts); err != nil {
				return err
			}
			claimed = append(claimed, r)
		}
		return rows.Err()
	})
	if err != nil {
		return nil, err // perhaps committed, the reply lost: those leases end by themselves
	}
	return claimed, nil
}

// finish ends the intent, if the lease still holds.
func finish(ctx context.Context, tx *bus.Tx, r row, state, lastError string) error {
	return fenced(ctx, tx, `
		UPDATE dispatch SET state = $3, last_error = $4, lease_owner = NULL, finished_at = now()
		WHERE id = $1 AND lease_owner = $2 AND state = 'leased'`, r.id, r.lease, state, lastError)
}

// again lets the intent wait for its next call, if the lease still holds.
func again(ctx context.Context, tx *bus.Tx, r row, wait time.Duration, lastError string) error {
	return fenced(ctx, tx, `
		UPDATE dispatch SET state = 'pending', last_error = $4, lease_owner = NULL,
		       next_at = now() + $3 * interval '1 millisecond'
		WHERE id = $1 AND lease_owner = $2 AND state = 'leased'`, r.id, r.lease, wait.Milliseconds(), lastError)
}

// giveBack lets the intent wait as long again as it has existed, at least
// wait and at most an hour, and does not count the call.
func giveBack(ctx context.Context, tx *bus.Tx, r row, wait time.Duration, lastError string) error {
	return fenced(ctx, tx, `
		UPDATE dispatch SET state = 'pending', last_error = $4, lease_owner = NULL, attempts = attempts - 1,
		       next_at = now() + least(greatest(now() - created_at, $3 * interval '1 millisecond'), interval '1 hour')
		WHERE id = $1 AND lease_owner = $2 AND state = 'leased'`, r.id, r.lease, wait.Milliseconds(), lastError)
}

// uncount makes the intent due at once and does not count the call.
func uncount(ctx context.Context, tx *bus.Tx, r row) error {
	return fenced(ctx, tx, `
		UPDATE dispatch SET state = 'pending', lease_owner = NULL, attempts = attempts - 1, next_at = now()
		WHERE id = $1 AND lease_owner = $2 AND state = 'leased'`, r.id, r.lease)
}

func fenced(ctx context.Context, tx *bus.Tx, statement string, args ...any) error {
	result, err := tx.ExecContext(ctx, statement, args...)
	if err != nil {
		return err
	}
	changed, err := result.RowsAffected()
	if err != nil {
		return err
	}
	if changed == 0 {
		return errFenced
	}
	return nil
}
