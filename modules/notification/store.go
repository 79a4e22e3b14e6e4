package notification

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"

	"github.com/google/uuid"

	"millrace/platform/bus"
	"millrace/platform/errs"
)

// lockUser takes an advisory lock on a user ID until the transaction ends. A
// contact and a message for the same user may arrive at the same moment, before
// there is a row that both could lock.
func lockUser(ctx context.Context, tx *bus.Tx, userID string) error {
	_, err := tx.ExecContext(ctx, `SELECT pg_advisory_xact_lock(hashtextextended('contact of ' || $1, 0))`, userID)
	return err
}

func hasContact(ctx context.Context, tx *bus.Tx, userID string) (found bool, err error) {
	err = tx.QueryRowContext(ctx, `SELECT EXISTS (SELECT FROM contacts WHERE user_id = $1)`, userID).Scan(&found)
	return found, err
}

// contactVersion returns the version of a user's contact, which grows with
// every change; 0 if there is none.
func contactVersion(ctx context.Context, tx *bus.Tx, userID string) (version int64, err error) {
	err = tx.QueryRowContext(ctx, `SELECT version FROM contacts WHERE user_id = $1`, userID).Scan(&version)
	if errors.Is(err, sql.ErrNoRows) {
		return 0, nil
	}
	return version, err
}

// saveContact stores a contact and returns its version. Storing the same
// contact again keeps the version.
func saveContact(ctx context.Context, tx *bus.Tx, c contact) (version int64, err error) {
	err = tx.QueryRowContext(ctx, `
		INSERT INTO contacts (user_id, email, language) VALUES ($1, $2, $3)
		ON CONFLICT (user_id) DO UPDATE SET email = EXCLUDED.email, language = EXCLUDED.language, updated_at = now(),
			version = contacts.version + ((contacts.email, contacts.language) <> (EXCLUDED.email, EXCLUDED.language))::int
		RETURNING version`,
		c.UserID, c.Email, c.Language).Scan(&version)
	return version, err
}

// insertNotification returns false if the causing message already has a
// notification.
func insertNotification(ctx context.Context, tx *bus.Tx, n notification) (inserted bool, err error) {
	params, err := json.Marshal(n.Params)
	if err != nil {
		return false, err
	}
	result, err := tx.ExecContext(ctx, `
		INSERT INTO notifications (id, cause_id, cause_type, user_id, template, subject, params, state)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8) ON CONFLICT (cause_id, cause_type) DO NOTHING`,
		n.ID, n.CauseID, n.CauseType, n.UserID, n.Template, n.Subject, string(params), n.State)
	if err != nil {
		return false, err
	}
	rows, err := result.RowsAffected()
	return rows == 1, err
}

// userToRelease returns a user who has a contact although notifications still
// wait for it, or "".
func userToRelease(ctx context.Context, db *bus.DB) (userID string, err error) {
	err = db.QueryRowContext(ctx, `
		SELECT n.user_id FROM notifications n JOIN contacts c ON c.user_id = n.user_id WHERE n.state = 'awaiting_contact' LIMIT 1`).Scan(&userID)
	if errors.Is(err, sql.ErrNoRows) {
		return "", nil
	}
	return userID, err
}

// release queues up to limit notifications that waited for the user's contact,
// oldest first.
func release(ctx context.Context, tx *bus.Tx, userID string, limit int) (released []notification, err error) {
	rows, err := tx.QueryContext(ctx, `
		WITH waiting AS (
			UPDATE notifications SET state = 'queued', updated_at = now()
			WHERE id IN (SELECT id FROM notifications WHERE user_id = $1 AND state = 'awaiting_contact' ORDER BY id LIMIT $2)
			RETURNING id, subject
		) SELECT id, subject FROM waiting ORDER BY id`, userID, limit)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		var n notification
		if err := rows.Scan(&n.ID, &n.Subject); err != nil {
			return nil, err
		}
		released = append(released, n)
	}
	return released, rows.Err()
}

// lockToSend locks a notification and returns it with the user's contact. It
// also returns a failed one, because an operator may retry its call. found is
// false if the notification was already sent, waits for a contact, or belongs
// to a digest.
func lockToSend(ctx context.Context, tx *bus.Tx, id uuid.UUID) (n notification, c contact, found bool, err error) {
	var params []byte
	err = tx.QueryRowContext(ctx, `
		SELECT n.id, n.template, n.subject, n.params, n.state, n.recipient, n.digest_id, c.email, c.language
		FROM notifications n JOIN contacts c ON c.user_id = n.user_id WHERE n.id = $1 FOR UPDATE OF n`, id).
		Scan(&n.ID, &n.Template, &n.Subject, &params, &n.State, &n.Recipient, &n.DigestID, &c.Email, &c.Language)
	if errors.Is(err, sql.ErrNoRows) {
		return n, c, false, errs.New(errs.NotFound, "notification %s is not there to be sent", id)
	}
	if err != nil {
		return n, c, false, err
	}
	if n.DigestID != nil || n.State == sent || n.State == awaitingContact {
		return n, c, false, nil
	}
	return n, c, true, json.Unmarshal(params, &n.Params)
}

// begin records the start of an attempt.
func begin(ctx context.Context, tx *bus.Tx, id uuid.UUID, recipient string, attempt int) error {
	_, err := tx.ExecContext(ctx, `
		UPDATE notifications SET state = 'sending', last_error = '', recipient = $2, attempts = greatest(attempts, $3), updated_at = now()
		WHERE id = $1`, id, recipient, attempt)
	return err
}

// requeue records that the mail server did not accept a mail yet, and the
// number of attempts used.
func requeue(ctx context.Context, tx *bus.Tx, id uuid.UUID, attempts int) error {
	_, err := tx.ExecContext(ctx, `
		UPDATE notifications SET state = 'queued', attempts = $2, updated_at = now() WHERE id = $1 AND state = 'sending'`, id, attempts)
	return err
}

// recordFinal records the final state of a notification and returns it for the
// event. changed is false if it was sent before.
func recordFinal(ctx context.Context, tx *bus.Tx, id uuid.UUID, end state, attempts int, reason string) (n notification, changed bool, err error) {
	err = tx.QueryRowContext(ctx, `
		UPDATE notifications SET state = $2, attempts = $3, last_error = $4, updated_at = now(),
			sent_at = CASE WHEN $2 = 'sent' THEN now() END
		WHERE id = $1 AND state <> 'sent'
		RETURNING id, cause_id, user_id, template, subject`, id, end, attempts, reason).
		Scan(&n.ID, &n.CauseID, &n.UserID, &n.Template, &n.Subject)
	if errors.Is(err, sql.ErrNoRows) {
		return n, false, nil
	}
	return n, err == nil, err
}

const columns = `id, cause_id, cause_type, user_id, template, subject, params, state, attempts, last_error, created_at, updated_at, sent_at, digest_id`

func scan(row interface{ Scan(...any) error }) (n notification, err error) {
	var params []byte
	if err := row.Scan(&n.ID, &n.CauseID, &n.CauseType, &n.UserID, &n.Template, &n.Subject, &params, &n.State,
		&n.Attempts, &n.LastError, &n.CreatedAt, &n.UpdatedAt, &n.SentAt, &n.DigestID); err != nil {
		return n, err
	}
	return n, json.Unmarshal(params, &n.Params)
}

func find(ctx context.Context, db *bus.DB, id uuid.UUID) (notification, error) {
	n, err := scan(db.QueryRowContext(ctx, `SELECT `+columns+` FROM notifications WHERE id = $1`, id))
	if errors.Is(err, sql.ErrNoRows) {
		return n, errs.New(errs.NotFound, "there is no notification %s", id)
	}
	return n, err
}

// list returns up to limit notifications of a subject that are older than
// behind, newest first. Their IDs sort by time.
func list(ctx context.Context, db *bus.DB, subject string, behind uuid.UUID, limit int) (all []notification, err error) {
	rows, err := db.QueryContext(ctx, `SELECT `+columns+` FROM notifications WHERE subject = $1 AND id < $2 ORDER BY id DESC LIMIT $3`, subject, behind, limit)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		n, err := scan(rows)
		if err != nil {
			return nil, err
		}
		all = append(all, n)
	}
	return all, rows.Err()
}
