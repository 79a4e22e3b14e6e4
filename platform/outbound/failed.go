package outbound

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"

	"millrace/platform/errs"
)

// FailedCall is a call that completed without success.
type FailedCall struct {
	ID          string // "<module>/call/<uuid>", for Retry
	Module      string // the module that recorded it
	Name        string // the kind of call
	Key         string // what it is about
	Correlation string // correlation ID
	Attempts    int    // number of attempts started
	Error       string // the last error, as stored
	FailedAt    time.Time
}

// Failed returns the failed calls of the modules, oldest failure first, at
// most limit. db must be able to read the modules' schemas.
func Failed(ctx context.Context, db *sql.DB, modules []string, limit int) (_ []FailedCall, err error) {
	defer errs.Wrap(&err, "list failed calls")
	var parts []string
	for _, module := range modules {
		parts = append(parts, fmt.Sprintf(`(SELECT '%[1]s' AS module, id, name, key, correlation_id, attempts, last_error, completed_at
			FROM %[1]s.outbound_calls WHERE state = 'failed' ORDER BY completed_at, id LIMIT $1)`, module))
	}
	if len(parts) == 0 {
		return nil, nil
	}
	rows, err := db.QueryContext(ctx, "SELECT * FROM ("+strings.Join(parts, " UNION ALL ")+") AS failed ORDER BY completed_at, id LIMIT $1", limit)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var all []FailedCall
	for rows.Next() {
		var c FailedCall
		var id uuid.UUID
		if err := rows.Scan(&c.Module, &id, &c.Name, &c.Key, &c.Correlation, &c.Attempts, &c.Error, &c.FailedAt); err != nil {
			return nil, err
		}
		c.ID = c.Module + callPart + id.String()
		all = append(all, c)
	}
	return all, rows.Err()
}

// WaitingCalls are the calls of one kind that wait for their next attempt with
// the same last error.
type WaitingCalls struct {
	Module, Name string
	Failed       int       // number of calls with this error
	Waiting      int       // number of waiting calls of this kind, including these
	Oldest       time.Time // when the oldest of this kind was recorded
	Error        string    // as stored; includes what to do if all calls are delayed
}

// Waiting returns the kinds of calls that wait because of an error, oldest
// first. It reads incomplete calls only.
func Waiting(ctx context.Context, db *sql.DB, modules []string) (_ []WaitingCalls, err error) {
	defer errs.Wrap(&err, "list waiting calls")
	var parts []string
	for _, module := range modules {
		parts = append(parts, fmt.Sprintf(`
			SELECT '%[1]s' AS module, name, last_error, count(*) AS failed,
				sum(count(*)) OVER (PARTITION BY name)::bigint AS waiting, min(min(created_at)) OVER (PARTITION BY name) AS oldest
			FROM %[1]s.outbound_calls WHERE state = 'pending' GROUP BY name, last_error`, module))
	}
	if len(parts) == 0 {
		return nil, nil
	}
	rows, err := db.QueryContext(ctx, `SELECT module, name, failed, waiting, oldest, last_error FROM (`+
		strings.Join(parts, " UNION ALL ")+`) w WHERE last_error <> '' ORDER BY oldest, module, name, last_error`)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var all []WaitingCalls
	for rows.Next() {
		var w WaitingCalls
		if err := rows.Scan(&w.Module, &w.Name, &w.Failed, &w.Waiting, &w.Oldest, &w.Error); err != nil {
			return nil, err
		}
		all = append(all, w)
	}
	return all, rows.Err()
}

const callPart = "/call/"

// IsCall reports whether an ID names a call, such as "payment/call/<uuid>".
func IsCall(id string) bool { return strings.Contains(id, callPart) }

// Retry makes a failed call pending again with all its attempts; a queue
// in any process finds it within a second. It is made with the same Call.ID. A malformed ID is Invalid and an unknown one NotFound. A call
// that is not failed is a Conflict that contains its current state.
func Retry(ctx context.Context, db *sql.DB, modules []string, id string) (err error) {
	defer errs.Wrap(&err, "retry %s", id)
	module, text, _ := strings.Cut(id, callPart)
	number, err := uuid.Parse(text)
	if err != nil || !slices.Contains(modules, module) {
		return errs.InvalidField("id", "%q is no failed call's id; they look like %q, see `millrace deadletters list`", id, "payment/call/<uuid>")
	}
	// It waits for the lock and reads the state under it, so only one of two
	// concurrent calls changes the call.
	var state string
	err = db.QueryRowContext(ctx, fmt.Sprintf(`
		UPDATE %s.outbound_calls SET state = 'pending', attempts = 0, next_at = now(), completed_at = NULL, last_error = ''
		WHERE id = $1 AND state = 'failed' RETURNING state`, module), number).Scan(&state)
	if !errors.Is(err, sql.ErrNoRows) {
		return err
	}
	err = db.QueryRowContext(ctx, fmt.Sprintf(`SELECT state FROM %s.outbound_calls WHERE id = $1`, module), number).Scan(&state)
	switch {
	case errors.Is(err, sql.ErrNoRows):
		return errs.New(errs.NotFound, "there is no such call")
	case err != nil:
		return err
	}
	return errs.New(errs.Conflict, "it is %s now: somebody was faster", state)
}
