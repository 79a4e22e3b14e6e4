package web

import (
	"bytes"
	"context"
	"crypto/sha256"
	"database/sql"
	"encoding/json"

	"millrace/platform/errs"
)

// IdempotencyKey is embedded in the input of an operation that a client may
// safely repeat. Without the header a request is never treated as a copy.
type IdempotencyKey struct {
	Key string `header:"Idempotency-Key" maxLength:"128" doc:"Makes it safe to repeat this request: a copy with the same key and body has no second effect and gets the first one's answer; the same key with another body is refused with 422"`
}

// Request identifies a request that its client may repeat.
type Request struct {
	key  string // "" if the client gave none
	hash []byte // of the operation and the body
}

// NewRequest returns the request of a principal for an operation. The key is
// stored with both, so the same key of two principals, or for two operations,
// does not collide. A header contains no line breaks, so no client's key equals
// another scope's key. body is what a copy must repeat; it is hashed as JSON.
//
// There is no sign-in yet: the principal is the one that the request names.
func NewRequest(operation, principal, key string, body any) (Request, error) {
	if key == "" {
		return Request{}, nil
	}
	text, err := json.Marshal(body)
	if err != nil {
		return Request{}, err
	}
	hash := sha256.Sum256(append([]byte(operation+"\n"), text...))
	return Request{key: operation + " " + principal + "\n" + key, hash: hash[:]}, nil
}

// Tx is the transaction of a request: *bus.Tx and *sql.Tx have these methods.
type Tx interface {
	ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error)
	QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row
}

// Once calls do, unless a copy of the request was handled before: then it
// returns the outcome that do returned for that one. Everything that do changes
// is in the transaction. If do returns an error, the transaction must be rolled
// back, and the key can be used again. A concurrent copy waits for the
// transaction's end. A key that came with another body is an error of kind
// invalid (422).
//
// The outcome is stored as JSON in the module's table idempotency_keys, for as
// long as the key. It must contain no personal data: store the ID of a row
// instead. The table has this shape:
//
//	CREATE TABLE idempotency_keys (
//	    key          text        PRIMARY KEY,
//	    request_hash bytea       NOT NULL,
//	    answer       text        NOT NULL DEFAULT '',
//	    created_at   timestamptz NOT NULL DEFAULT now()
//	);
func Once[T any](ctx context.Context, tx Tx, r Request, do func() (T, error)) (outcome T, repeated bool, err error) {
	if r.key == "" {
		outcome, err = do()
		return outcome, false, err
	}
	inserted, err := tx.ExecContext(ctx, `INSERT INTO idempotency_keys (key, request_hash) VALUES ($1, $2) ON CONFLICT DO NOTHING`, r.key, r.hash)
	if err != nil {
		return outcome, false, err
	}
	if n, err := inserted.RowsAffected(); err != nil {
		return outcome, false, err
	} else if n == 0 {
		return outcome, true, readOutcome(ctx, tx, r, &outcome)
	}
	if outcome, err = do(); err != nil {
		return outcome, false, err
	}
	text, err := json.Marshal(outcome)
	if err != nil {
		return outcome, false, err
	}
	_, err = tx.ExecContext(ctx, `UPDATE idempotency_keys SET answer = $2 WHERE key = $1`, r.key, string(text))
	return outcome, false, err
}

func readOutcome(ctx context.Context, tx Tx, r Request, outcome any) error {
	var hash, text []byte
	err := tx.QueryRowContext(ctx, `SELECT request_hash, answer FROM idempotency_keys WHERE key = $1`, r.key).Scan(&hash, &text)
	if err != nil {
		return err
	}
	if !bytes.Equal(hash, r.hash) {
		return errs.InvalidField("Idempotency-Key", "was used for another request; a new request needs a new key")
	}
	return json.Unmarshal(text, outcome)
}
