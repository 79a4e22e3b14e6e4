package dispatch

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

// FailedCall is an intent that ended without a success.
type FailedCall struct {
	ID          string // "<module>/call/<uuid>", for Retry
	Module      string // whose it is
	Name        string // the kind of intent
	Key         string // what it is about
	Correlation string // the conversation it belongs to
	Attempts    int    // how many calls were begun
	Error       string // the last error, as in the row
	FailedAt    time.Time
}

// Failed returns the failed intents of the modules, oldest failure first. db
// may be any connection that can read the modules' schemas.
func Failed(ctx context.Context, db *sql.DB, modules []string) (_ []FailedCall, err error) {
	defer errs.Wrap(&err, "list failed calls")
	var parts []string
	for _, module := range modules {
		parts = append(parts, fmt.Sprintf(
			`SELECT '%[1]s', id, name, key, correlation, attempts, last_error, finished_at FROM %[1]s.dispatch WHERE state = 'failed'`, module))
	}
	if len(parts) == 0 {
		return nil, nil
	}
	rows, err := db.QueryContext(ctx, strings.Join(parts, " UNION ALL ")+" ORDER BY finished_at, id")
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

const callPart = "/call/"

// IsCall tells whether an id is one of a call, as "payment/call/<uuid>".
func IsCall(id string) bool { return strings.Contains(id, callPart) }

// Retry hands a failed intent back to its dispatcher, in whatever process, with
// all attempts anew; its poll finds it within a second. The call is made under
// the same Intent.ID. An id that is none is Invalid or NotFound; one whose
// intent is no longer failed is a Conflict that says what it is now.
func Retry(ctx context.Context, db *sql.DB, modules []string, id string) (err error) {
	defer errs.Wrap(&err, "retry %s", id)
	module, text, _ := strings.Cut(id, callPart)
	number, err := uuid.Parse(text)
	if err != nil || !slices.Contains(modules, module) {
		return errs.InvalidField("id", "%q is no failed call's id; they look like %q, see `millrace deadletters list`", id, "payment/call/<uuid>")
	}
	// The lock is waited for and the state looked at again: of two, one changes it.
	var state string
	err = db.QueryRowContext(ctx, fmt.Sprintf(`
		UPDATE %s.dispatch SET state = 'pending', attempts = 0, next_at = now(), finished_at = NULL
		WHERE id = $1 AND state = 'failed' RETURNING state`, module), number).Scan(&state)
	if !errors.Is(err, sql.ErrNoRows) {
		return err
	}
	err = db.QueryRowContext(ctx, fmt.Sprintf(`SELECT state FROM %s.dispatch WHERE id = $1`, module), number).Scan(&state)
	switch {
	case errors.Is(err, sql.ErrNoRows):
		return errs.New(errs.NotFound, "there is no such call")
	case err != nil:
		return err
	}
	return errs.New(errs.Conflict, "it is %s now: somebody was faster", state)
}
