// Package deadletter lists the messages that wait for an operator: dead letters, and
// messages whose type no running version of their module knows. It retries and
// discards them.
//
// A dead letter blocks the later messages of its key, for that subscriber, until it
// is handled or discarded. Its state changes by compare-and-set: if two operators
// decide at once, one succeeds and the other gets a Conflict. After the commit the
// node that owns the partition is notified. It retries the message with all
// attempts, or continues with the messages behind it.
//
// A message of an unknown type waits for a version that knows it if it is a command,
// or if another version has subscribed to the type: a release that was rolled back
// may return. Meanwhile it blocks the later messages of its key. It is handled when
// such a version runs. If none ever will, Forget discards all messages of the type,
// and Discard a single one. Of each key only the first waiting message is listed.
//
// The row of a discarded message is kept, with who discarded it, when and why. The
// message never takes effect. The name is not verified: there is no sign-in.
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

	"millrace/platform/bus/cluster"
	"millrace/platform/bus/store"
	"millrace/platform/errs"
	"millrace/platform/failpoint"
	"millrace/platform/text"
)

// Letter is a message that a subscriber could not handle, or does not know.
type Letter struct {
	ID         string    // "<subscriber's module>/<number>", for Retry
	Subscriber string    // the module that could not handle it
	MessageID  uuid.UUID // the message
	Type       string    // its name
	Key        string    // its key
	Topic      string    // where it was read
	Sequence   int64     // its offset there
	State      string    // Dead; else it waits for a version of its module that knows its type
	Attempts   int       // how often it was tried
	Kind       string    // the last error's kind, see package errs
	Error      string    // the last error, at most 2,000 bytes
	FailedAt   time.Time // of the last attempt, or when it was parked
	Behind     int       // how many messages of its key wait behind it
}

// Dead is the State of a message that failed for good.
const Dead = "dead"

// List returns the modules' dead letters and the messages that wait for a version
// that knows their type, oldest first, at most limit. db may be any connection that can read
// the modules' schemas.
func List(ctx context.Context, db *sql.DB, modules []string, limit int) (_ []Letter, err error) {
	defer errs.Wrap(&err, "list dead letters")
	var parts []string
	for _, module := range modules {
		parts = append(parts, fmt.Sprintf(`
			SELECT '%[1]s', a.id, a.subscriber, a.message_id, a.type, a.key, a.topic, a."offset", a.state, a.attempts, a.kind, a.error, coalesce(a.failed_at, a.created_at) AS failed,
				(SELECT count(*) FROM %[1]s.parked_messages h WHERE h.subscriber = a.subscriber AND h.topic = a.topic AND h.partition = a.partition
					AND h.key = a.key AND h."offset" > a."offset" AND h.state <> 'discarded')
			FROM %[1]s.parked_messages a WHERE a.state = 'dead' OR %[2]s`, module, waits(module)))
	}
	if len(parts) == 0 {
		return nil, nil
	}
	rows, err := db.QueryContext(ctx, strings.Join(parts, " UNION ALL ")+" ORDER BY failed LIMIT $1", limit)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var all []Letter
	for rows.Next() {
		var l Letter
		var module string
		var number int64
		if err := rows.Scan(&module, &number, &l.Subscriber, &l.MessageID, &l.Type, &l.Key, &l.Topic, &l.Sequence, &l.State, &l.Attempts, &l.Kind, &l.Error, &l.FailedAt, &l.Behind); err != nil {
			return nil, err
		}
		l.ID = module + "/" + strconv.FormatInt(number, 10)
		all = append(all, l)
	}
	return all, rows.Err()
}

// Retry makes a dead letter's subscriber handle it again. A malformed or unknown id
// is Invalid or NotFound. If the message is no longer dead, because another operator
// was faster or it was handled, the error is a Conflict with its present state. A
// message that waits for a version that knows its type is a Conflict too: no running
// version could handle it. A message that was lost or could not be read on its way
// through Kafka is Invalid: there is nothing to handle.
func Retry(ctx context.Context, db *sql.DB, modules []string, id string) (err error) {
	defer errs.Wrap(&err, "retry %s", id)
	return decide(ctx, db, modules, id, func(string) string { return `a.state = 'dead'` }, store.Hopeless, `state = 'retry_scheduled', next_attempt_at = clock_timestamp(), attempts = 0, decided_at = clock_timestamp()`)
}

// Discard discards a message that List shows: it never takes effect, and the later
// messages of its key are handled. by is the operator's name; by and reason are
// required and stored. Errors are those of Retry.
func Discard(ctx context.Context, db *sql.DB, modules []string, id, by, reason string) (err error) {
	if err := answerable(&by, &reason); err != nil {
		return err
	}
	defer errs.Wrap(&err, "discard %s", id)
	may := func(module string) string { return `(a.state = 'dead' OR ` + waits(module) + `)` }
	return decide(ctx, db, modules, id, may, func(string) string { return "" }, discarding, by, reason)
}

// discarding sets the columns of a discarded message; $2 is by, $3 the reason.
const discarding = `state = 'discarded', next_attempt_at = NULL, decided_at = clock_timestamp(), decided_by = $2, reason = $3`

const maxReason = 500 // characters

// answerable requires a name and a reason, and normalizes them as they are stored.
func answerable(by, reason *string) error {
	for name, given := range map[string]*string{"by": by, "reason": reason} {
		stored, fault := text.Given(*given, maxReason)
		if fault != "" {
			return errs.InvalidField(name, "%s; it explains later why the message took no effect", fault)
		}
		*given = stored
	}
	return nil
}

// decide changes a parked message by compare-and-set, and notifies the node that
// owns its partition. may is the condition, in SQL.
func decide(ctx context.Context, db *sql.DB, modules []string, id string, may func(module string) string, not func(messageType string) (why string), change string, args ...any) error {
	module, digits, _ := strings.Cut(id, "/")
	number, err := strconv.ParseInt(digits, 10, 64)
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
	err = tx.QueryRowContext(ctx, fmt.Sprintf(`UPDATE %s.parked_messages a SET %s WHERE a.id = $1 AND %s RETURNING a.subscriber, a.topic, a.partition, a.type`, module, change, may(module)),
		append([]any{number}, args...)...).Scan(&subscriber, &topic, &partition, &messageType)
	if errors.Is(err, sql.ErrNoRows) {
		return whyNot(ctx, tx, module, number)
	}
	if err != nil {
		return err
	}
	if why := not(messageType); why != "" {
		return errs.New(errs.Invalid, "%s", why)
	}
	if err := cluster.NotifyParked(ctx, tx, subscriber, topic, partition); err != nil {
		return err
	}
	failpoint.Here("requeue.before_commit")
	err = tx.Commit()
	failpoint.Here("requeue.after_commit")
	return err
}

// whyNot returns the error for a message that may not be retried or discarded.
func whyNot(ctx context.Context, tx *sql.Tx, module string, number int64) error {
	var state, messageType string
	var waiting bool
	err := tx.QueryRowContext(ctx, fmt.Sprintf(`SELECT a.state, a.type, %s FROM %s.parked_messages a WHERE a.id = $1`, waits(module), module), number).Scan(&state, &messageType, &waiting)
	switch {
	case errors.Is(err, sql.ErrNoRows):
		return errs.New(errs.NotFound, "there is no such dead letter: it was handled meanwhile, or never was")
	case err != nil:
		return err
	case waiting:
		return errs.New(errs.Conflict, "it is %s for a version of %s that knows %s: it goes on by itself as soon as one serves; if there will be none, forget the type (millrace deadletters forget %[2]s %[3]s), or discard the message", state, module, messageType)
	case state == "blocked":
		return errs.New(errs.Conflict, "it is held behind an earlier message of its key, and goes on when that one is decided on")
	}
	return errs.New(errs.Conflict, "it is %s now: somebody was faster", state)
}
