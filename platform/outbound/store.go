package outbound

import (
	"context"
	"database/sql"
	"errors"
	"time"

	"github.com/google/uuid"
	"github.com/lib/pq"

	"millrace/platform/bus"
)

// row is a claimed call.
type row struct {
	id          uuid.UUID
	key         string
	payload     []byte
	correlation string
	attempts    int       // including the call about to be made
	lease       uuid.UUID // unique to this claim; fences off other workers
	claimedAt   time.Time // when the claim began, by this process's clock
}

// errFenced means that another worker has the lease, or that the call is
// completed.
var errFenced = errors.New("the lease is no longer ours")

func insert(ctx context.Context, tx *bus.Tx, r row, name string, wait time.Duration) error {
	_, err := tx.ExecContext(ctx, `
		INSERT INTO outbound_calls (id, name, key, payload, correlation_id, next_at)
		VALUES ($1, $2, $3, $4, $5, now() + $6 * interval '1 millisecond')`,
		r.id, name, r.key, string(r.payload), r.correlation, wait.Milliseconds())
	return err
}

// due reports whether the periodic poll should claim. It reads one index entry.
func due(ctx context.Context, db *bus.DB, name string) (found bool, err error) {
	err = db.QueryRowContext(ctx,
		`SELECT EXISTS (SELECT 1 FROM outbound_calls WHERE name = $1 AND state IN ('pending', 'leased') AND next_at <= now())`,
		name).Scan(&found)
	return found, err
}

// claim claims up to limit due calls: pending ones whose time has come, and
// leased ones whose lease has expired, except those in recording, whose results
// wait in this process to be recorded. It uses one transaction and does not
// wait for locks. If COMMIT fails, it returns the calls with the error: perhaps
// only the reply was lost, and release undoes that.
func claim(ctx context.Context, db *bus.DB, name string, limit int, lease time.Duration, recording []string) (claimed []row, err error) {
	begun := time.Now()
	token, err := uuid.NewV7()
	if err != nil {
		return nil, err
	}
	complete := false
	err = db.InTx(ctx, func(tx *bus.Tx) error {
		rows, err := tx.QueryContext(ctx, `
			WITH picked AS MATERIALIZED (
				SELECT id FROM outbound_calls
				WHERE name = $1 AND state IN ('pending', 'leased') AND next_at <= now() AND id <> ALL ($5::uuid[])
				ORDER BY next_at LIMIT $2
				FOR UPDATE SKIP LOCKED
			)
			UPDATE outbound_calls c
			SET state = 'leased', attempts = attempts + 1, lease_token = $3,
			    next_at = now() + $4 * interval '1 millisecond'
			FROM picked WHERE c.id = picked.id
			RETURNING c.id, c.key, c.payload, c.correlation_id, c.attempts`,
			name, limit, token, lease.Milliseconds(), pq.Array(recording))
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			r := row{lease: token, claimedAt: begun}
			if err := rows.Scan(&r.id, &r.key, &r.payload, &r.correlation, &r.attempts); err != nil {
				return err
			}
			claimed = append(claimed, r)
		}
		complete = rows.Err() == nil
		return rows.Err()
	})
	if !complete { // no commit was tried
		return nil, err
	}
	return claimed, err
}

// release makes the calls of lost claims due again, uncounted, and returns how
// many they are.
func release(ctx context.Context, db *bus.DB, lost []lostCall) (released int64, err error) {
	ids, tokens := make([]string, len(lost)), make([]string, len(lost))
	for i, c := range lost {
		ids[i], tokens[i] = c.id.String(), c.lease.String()
	}
	err = db.InTx(ctx, func(tx *bus.Tx) error {
		result, err := tx.ExecContext(ctx, `
			UPDATE outbound_calls SET state = 'pending', lease_token = NULL, attempts = attempts - 1, next_at = now()
			WHERE id = ANY ($1::uuid[]) AND lease_token = ANY ($2::uuid[]) AND state = 'leased'`, pq.Array(ids), pq.Array(tokens))
		if err != nil {
			return err
		}
		released, err = result.RowsAffected()
		return err
	})
	return released, err
}

// check reports a lost lease without a lock. Only finish makes sure that it
// still holds.
func check(ctx context.Context, tx *bus.Tx, r row) error {
	var holds bool
	err := tx.QueryRowContext(ctx, `SELECT EXISTS (SELECT 1 FROM outbound_calls WHERE id = $1 AND lease_token = $2 AND state = 'leased')`,
		r.id, r.lease).Scan(&holds)
	if err == nil && !holds {
		return errFenced
	}
	return err
}

// finish records the final state if the lease still holds.
func finish(ctx context.Context, tx *bus.Tx, r row, state, lastError string) error {
	return fenced(ctx, tx, `
		UPDATE outbound_calls SET state = $3, last_error = $4, lease_token = NULL, completed_at = now()
		WHERE id = $1 AND lease_token = $2 AND state = 'leased'`, r.id, r.lease, state, lastError)
}

// scheduleNext schedules the next attempt after wait, if the lease still holds.
func scheduleNext(ctx context.Context, tx *bus.Tx, r row, wait time.Duration, lastError string) error {
	return fenced(ctx, tx, `
		UPDATE outbound_calls SET state = 'pending', last_error = $4, lease_token = NULL,
		       next_at = now() + $3 * interval '1 millisecond'
		WHERE id = $1 AND lease_token = $2 AND state = 'leased'`, r.id, r.lease, wait.Milliseconds(), lastError)
}

// renew extends the lease to its full duration, if it still holds.
func renew(ctx context.Context, db *bus.DB, r row, lease time.Duration) error {
	result, err := db.ExecReserved(ctx, `
		UPDATE `+pq.QuoteIdentifier(db.Owner())+`.outbound_calls SET next_at = now() + $3 * interval '1 millisecond'
		WHERE id = $1 AND lease_token = $2 AND state = 'leased'`, r.id, r.lease, lease.Milliseconds())
	if err != nil {
		return err
	}
	return changedOne(result)
}

// requeue schedules the next attempt without counting this one. The call waits as
// long again as it has existed, at least a second and at most longest.
func requeue(ctx context.Context, tx *bus.Tx, r row, longest time.Duration, lastError string) error {
	return fenced(ctx, tx, `
		UPDATE outbound_calls SET state = 'pending', last_error = $4, lease_token = NULL, attempts = attempts - 1,
		       next_at = now() + least(greatest(now() - created_at, interval '1 second'), $3 * interval '1 millisecond')
		WHERE id = $1 AND lease_token = $2 AND state = 'leased'`, r.id, r.lease, longest.Milliseconds(), lastError)
}

// postpone makes the call due, behind those that are already due, without
// counting the attempt.
func postpone(ctx context.Context, tx *bus.Tx, r row, lastError string) error {
	return fenced(ctx, tx, `
		UPDATE outbound_calls SET state = 'pending', last_error = $3, lease_token = NULL, attempts = attempts - 1, next_at = now()
		WHERE id = $1 AND lease_token = $2 AND state = 'leased'`, r.id, r.lease, lastError)
}

// requeueUncounted makes the call due at once without counting the attempt.
func requeueUncounted(ctx context.Context, tx *bus.Tx, r row) error {
	return fenced(ctx, tx, `
		UPDATE outbound_calls SET state = 'pending', lease_token = NULL, attempts = attempts - 1, next_at = now()
		WHERE id = $1 AND lease_token = $2 AND state = 'leased'`, r.id, r.lease)
}

func fenced(ctx context.Context, tx *bus.Tx, statement string, args ...any) error {
	result, err := tx.ExecContext(ctx, statement, args...)
	if err != nil {
		return err
	}
	return changedOne(result)
}

func changedOne(result sql.Result) error {
	changed, err := result.RowsAffected()
	if err != nil {
		return err
	}
	if changed == 0 {
		return errFenced
	}
	return nil
}
