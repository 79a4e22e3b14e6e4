package consultation

import (
	"context"
	"crypto/sha256"
	"encoding/json"

	"millrace/platform/bus"
	"millrace/platform/errs"
)

// request is one request of a client that may be repeated: its Idempotency-Key
// and what it asks for. Without a key it is never a repetition.
type request struct {
	key         string
	fingerprint []byte
}

// newRequest makes a request. what names the operation and body is its input.
func newRequest(key, what string, body any) (request, error) {
	text, err := json.Marshal(body)
	if err != nil {
		return request{}, err
	}
	sum := sha256.Sum256(append([]byte(what+"\n"), text...))
	return request{key: key, fingerprint: sum[:]}, nil
}

// answered is what an earlier copy of a request led to.
type answered struct {
	done           bool
	consultationID int64
	position       int64
}

// claim makes the key this transaction's, or returns what it led to before. A
// copy that is in flight is waited for. If this transaction is rolled back, the
// key is free again.
func claim(ctx context.Context, tx *bus.Tx, r request) (answered, error) {
	if r.key == "" {
		return answered{}, nil
	}
	result, err := tx.ExecContext(ctx, `INSERT INTO request (key, fingerprint) VALUES ($1, $2) ON CONFLICT (key) DO NOTHING`, r.key, r.fingerprint)
	if err != nil {
		return answered{}, err
	}
	if n, err := result.RowsAffected(); err != nil || n == 1 {
		return answered{}, err
	}
	before, same := answered{done: true}, false
	err = tx.QueryRowContext(ctx, `SELECT fingerprint = $2, consultation_id, position FROM request WHERE key = $1`, r.key, r.fingerprint).
		Scan(&same, &before.consultationID, &before.position)
	if err != nil {
		return answered{}, err
	}
	if !same {
		return answered{}, errs.InvalidField("Idempotency-Key", "was used for another request; a new request needs a new key")
	}
	return before, nil
}

// settle records what the request led to.
func settle(ctx context.Context, tx *bus.Tx, r request, consultationID, position int64) error {
	if r.key == "" {
		return nil
	}
	_, err := tx.ExecContext(ctx, `UPDATE request SET consultation_id = $2, position = $3 WHERE key = $1`, r.key, consultationID, position)
	return err
}
