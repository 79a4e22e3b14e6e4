package consultation

import (
	"context"
	"crypto/sha256"
	"encoding/json"

	"millrace/platform/bus"
	"millrace/platform/errs"
	"millrace/platform/web"
)

// request identifies a client's request that may be repeated: its Idempotency-Key
// and a hash of its input. Without a key it is never treated as a repetition.
type request struct {
	key         string // prefixed with its scope
	bare        string // as the client sent it; earlier releases stored this form
	fingerprint []byte
}

// newRequest returns the request of a principal; what is the operation and body
// its input.
func newRequest(key, what, principal string, body any) (request, error) {
	text, err := json.Marshal(body)
	if err != nil {
		return request{}, err
	}
	sum := sha256.Sum256(append([]byte(what+"\n"), text...))
	return request{key: web.ScopedKey(what, principal, key), bare: key, fingerprint: sum[:]}, nil
}

// earlierOutcome is the stored outcome of an earlier copy of a request.
type earlierOutcome struct {
	done           bool
	consultationID int64
	position       int64
}

// claim stores the request's key, or returns the outcome of an earlier copy. It
// waits for a concurrent copy. A rollback releases the key.
func claim(ctx context.Context, tx *bus.Tx, r request) (earlierOutcome, error) {
	if r.key == "" {
		return earlierOutcome{}, nil
	}
	result, err := tx.ExecContext(ctx, `
		INSERT INTO request (key, fingerprint)
		SELECT $1, $2 WHERE NOT EXISTS (SELECT FROM request WHERE key = $3 AND fingerprint = $2)
		ON CONFLICT (key) DO NOTHING`, r.key, r.fingerprint, r.bare)
	if err != nil {
		return earlierOutcome{}, err
	}
	if n, err := result.RowsAffected(); err != nil || n == 1 {
		return earlierOutcome{}, err
	}
	before, same := earlierOutcome{done: true}, false
	err = tx.QueryRowContext(ctx, `
		SELECT fingerprint = $2, consultation_id, position FROM request
		WHERE key = $1 OR key = $3 AND fingerprint = $2 ORDER BY key = $3 DESC LIMIT 1`, r.key, r.fingerprint, r.bare).
		Scan(&same, &before.consultationID, &before.position)
	if err != nil {
		return earlierOutcome{}, err
	}
	if !same {
		return earlierOutcome{}, errs.InvalidField("Idempotency-Key", "was used for another request; a new request needs a new key")
	}
	return before, nil
}

// storeOutcome stores the outcome of the request.
func storeOutcome(ctx context.Context, tx *bus.Tx, r request, consultationID, position int64) error {
	if r.key == "" {
		return nil
	}
	_, err := tx.ExecContext(ctx, `UPDATE request SET consultation_id = $2, position = $3 WHERE key = $1`, r.key, consultationID, position)
	return err
}
