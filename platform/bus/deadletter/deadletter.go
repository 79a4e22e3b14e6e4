// Package deadletter shows an operator the messages that failed for good, hands
// them back to their subscribers, or dismisses them.
//
// A dead letter holds the later messages of its key, for that subscriber, until
// it is handled or discarded. Its state changes by compare-and-set only: of two
// operators one wins and the other is told. The partition's owner, in whatever
// process, is woken after the commit: it tries the message with all attempts
// anew, or goes on with those behind it.
//
// A message that was discarded is kept, with who did it, when and why; it never
// takes effect. Who is what the caller says: there is no sign-in.
package deadletter

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"

	"millrace/platform/bus/sqltransport"
	"millrace/platform/errs"
	"millrace/platform/failpoint"
)

// Letter is a message that a subscriber could not handle.
type Letter struct {
	ID         string    // "<subscriber's module>/<number>", for Retry
	Subscriber string    // who could not handle it
	MessageID  uuid.UUID // the message
	Type       string    // its name
	Key        string    // its key
	Topic      string    // where it was read
	Sequence   int64     // its offset there
	Attempts   int       // how often it was tried
	Kind       string    // the last error's kind, see package errs
	Error      string    // the last error, at most 2,000 bytes
	FailedAt   time.Time // when it was tried last
	Behind     int       // how many messages of its key wait behind it
}

// List returns the dead letters of the modules, oldest failure first. db may be
// any connection that can read the modules' schemas.
func List(ctx context.Context, db *sql.DB, modules []string) (_ []Letter, err error) {
	defer errs.Wrap(&err, "list dead letters")
	var parts []string
	for _, module := range modules {
		parts = append(parts, fmt.Sprintf(`
			SELECT '%[1]s', a.id, a.subscriber, a.message_id, a.type, a.key, a.topic, a."offset", a.attempts, a.kind, a.error, coalesce(a.failed_at, a.created_at) AS failed,
				(SELECT count(*) FROM %[1]s.aside h WHERE h.subscriber = a.subscriber AND h.topic = a.topic AND h.partition = a.partition
					AND h.key = a.key AND h."offset" > a."offset" AND h.state <> 'discarded')
			FROM %[1]s.aside a WHERE a.state = 'dead'`, module))
	}
	if len(parts) == 0 {
		return nil, nil
	}
	rows, err := db.QueryContext(ctx, strings.Join(parts, " UNION ALL ")+" ORDER BY failed")
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var all []Letter
	for rows.Next() {
		var l Letter
		var module string
		var number int64
		if err := rows.Scan(&module, &number, &l.Subscriber, &l.MessageID, &l.Type, &l.Key, &l.Topic, &l.Sequence, &l.Attempts, &l.Kind, &l.Error, &l.FailedAt, &l.Behind); err != nil {
			return nil, err
		}
		l.ID = module + "/" + strconv.FormatInt(number, 10)
		all = append(all, l)
	}
	return all, rows.Err()
}

// Retry hands a dead letter back to its subscriber. An id that is none is
// Invalid or NotFound; one whose state is no longer dead (somebody was faster,
// or it was handled) is a Conflict that says what it is now. What a carrier lost,
// or could not read, cannot be tried: Invalid.
func Retry(ctx context.Context, db *sql.DB, modules []string, id string) (err error) {
	defer errs.Wrap(&err, "retry %s", id)
	return decide(ctx, db, modules, id, sqltransport.Hopeless, `state = 'retrying', next_at = clock_timestamp(), attempts = 0, decided_at = clock_timestamp()`)
}

// Discard dismisses a dead letter for good: it takes no effect, and the later
// messages of its key go on. by says who, reason why; both are needed and kept.
// Errors are as Retry's.
func Discard(ctx context.Context, db *sql.DB, modules []string, id, by, reason string) (err error) {
	for field, value := range map[string]string{"by": by, "reason": reason} {
		if strings.TrimSpace(value) == "" || len(value) > maxReason {
			return errs.InvalidField(field, "must be given, in at most %d bytes: whoever asks later why the message took no effect finds it", maxReason)
		}
	}
	defer errs.Wrap(&err, "discard %s", id)
	return decide(ctx, db, modules, id, func(string) string { return "" }, `state = 'discarded', decided_at = clock_timestamp(), decided_by = $2, reason = $3`, by, reason)
}

const maxReason = 500

// decide changes a dead letter by compare-and-set, and wakes its partition's owner.
func decide(ctx context.Context, db *sql.DB, modules []string, id string, not func(messageType string) (why string), change string, args ...any) error {
	module, text, _ := strings.Cut(id, "/")
	number, err := strconv.ParseInt(text, 10, 64)
	if err != nil || !slices.Contains(modules, module) {
		return errs.InvalidField("id", "%q is no dead letter's id; they look like %q, see `millrace deadletters list`", id, "delivery/17")
	}
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer func() { _ = tx.Rollback() }() // after a commit there is nothing to roll back
	var subscriber, topic, messageType string
	var partition int
	err = tx.QueryRowContext(ctx, fmt.Sprintf(`UPDATE %s.aside SET %s WHERE id = $1 AND state = 'dead' RETURNING subscriber, topic, partition, type`, module, change),
		append([]any{number}, args...)...).Scan(&subscriber, &topic, &partition, &messageType)
	if errors.Is(err, sql.ErrNoRows) {
		return notDead(ctx, tx, module, number)
	}
	if err != nil {
		return err
	}
	if why := not(messageType); why != "" {
		return errs.New(errs.Invalid, "%s", why)
	}
	if err := sqltransport.AsideChanged(ctx, tx, subscriber, topic, partition); err != nil {
		return err
	}
	failpoint.Here("requeue.before_commit")
	err = tx.Commit()
	failpoint.Here("requeue.after_commit")
	return err
}

func notDead(ctx context.Context, tx *sql.Tx, module string, number int64) error {
	var state string
	err := tx.QueryRowContext(ctx, fmt.Sprintf(`SELECT state FROM %s.aside WHERE id = $1`, module), number).Scan(&state)
	switch {
	case errors.Is(err, sql.ErrNoRows):
		return errs.New(errs.NotFound, "there is no such dead letter: it was handled meanwhile, or never was")
	case err != nil:
		return err
	}
	return errs.New(errs.Conflict, "it is %s now: somebody was faster", state)
}
