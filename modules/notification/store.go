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

// lockUser lets one transaction at a time decide whether a user can be reached.
// A contact and a message for it may come at the same moment and there is no
// row yet that both would meet at, so the lock is on the id itself. It ends
// with the transaction.
func lockUser(ctx context.Context, tx *bus.Tx, userID string) error {
	_, err := tx.ExecContext(ctx, `SELECT pg_advisory_xact_lock(hashtextextended('contact of ' || $1, 0))`, userID)
	return err
}

func hasContact(ctx context.Context, tx *bus.Tx, userID string) (found bool, err error) {
	err = tx.QueryRowContext(ctx, `SELECT EXISTS (SELECT FROM contacts WHERE user_id = $1)`, userID).Scan(&found)
	return found, err
}

func saveContact(ctx context.Context, tx *bus.Tx, c contact) error {
	_, err := tx.ExecContext(ctx, `
		INSERT INTO contacts (user_id, email, language) VALUES ($1, $2, $3)
		ON CONFLICT (user_id) DO UPDATE SET email = EXCLUDED.email, language = EXCLUDED.language, updated_at = now()`,
		c.UserID, c.Email, c.Language)
	return err
}

// insertNotification returns false when the cause has its notification already.
func insertNotification(ctx context.Context, tx *bus.Tx, n notification) (inserted bool, err error) {
	params, err := json.Marshal(n.Params)
	if err != nil {
		return false, err
	}
	result, err := tx.ExecContext(ctx, `
		INSERT INTO notifications (id, cause_id, cause_type, user_id, template, subject, params, state)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8) ON CONFLICT (cause_id) DO NOTHING`,
		n.ID, n.CauseID, n.CauseType, n.UserID, n.Template, n.Subject, string(params), n.State)
	if err != nil {
		return false, err
	}
	rows, err := result.RowsAffected()
	return rows == 1, err
}

// release queues what waited for the user's contact, oldest first.
func release(ctx context.Context, tx *bus.Tx, userID string) (released []notification, err error) {
	rows, err := tx.QueryContext(ctx, `
		WITH waiting AS (
			UPDATE notifications SET state = 'queued', updated_at = now()
			WHERE user_id = $1 AND state = 'awaiting_contact' RETURNING id, subject
		) SELECT id, subject FROM waiting ORDER BY id`, userID)
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

// begin marks an attempt, and returns what to send to whom. One that failed is
// sent when an operator hands its call back.
func begin(ctx context.Context, tx *bus.Tx, id uuid.UUID, attempt int) (n notification, c contact, err error) {
	var params []byte
	err = tx.QueryRowContext(ctx, `
		UPDATE notifications n SET state = 'sending', last_error = '', attempts = greatest(attempts, $2), updated_at = now()
		FROM contacts c
		WHERE n.id = $1 AND c.user_id = n.user_id AND n.state IN ('queued', 'sending', 'failed')
		RETURNING n.id, n.template, n.subject, n.params, c.email, c.language`, id, attempt).
		Scan(&n.ID, &n.Template, &n.Subject, &params, &c.Email, &c.Language)
	if errors.Is(err, sql.ErrNoRows) {
		return n, c, errs.New(errs.NotFound, "notification %s is not there to be sent", id)
	}
	if err != nil {
		return n, c, err
	}
	return n, c, json.Unmarshal(params, &n.Params)
}

// settle records how a notification ended, and returns what is said about it.
func settle(ctx context.Context, tx *bus.Tx, id uuid.UUID, end state, attempts int, reason string) (n notification, err error) {
	err = tx.QueryRowContext(ctx, `
		UPDATE notifications SET state = $2, attempts = $3, last_error = $4, updated_at = now(),
			sent_at = CASE WHEN $2 = 'sent' THEN now() END
		WHERE id = $1
		RETURNING id, cause_id, user_id, template, subject`, id, end, attempts, reason).
		Scan(&n.ID, &n.CauseID, &n.UserID, &n.Template, &n.Subject)
	return n, err
}

const columns = `id, cause_id, cause_type, user_id, template, subject, params, state, attempts, last_error, created_at, updated_at, sent_at`

func scan(row interface{ Scan(...any) error }) (n notification, err error) {
	var params []byte
	if err := row.Scan(&n.ID, &n.CauseID, &n.CauseType, &n.UserID, &n.Template, &n.Subject, &params, &n.State,
		&n.Attempts, &n.LastError, &n.CreatedAt, &n.UpdatedAt, &n.SentAt); err != nil {
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

// list returns a subject's notifications, oldest first, at most limit.
func list(ctx context.Context, db *bus.DB, subject string, limit int) (all []notification, err error) {
	rows, err := db.QueryContext(ctx, `SELECT `+columns+` FROM notifications WHERE subject = $1 ORDER BY id LIMIT $2`, subject, limit)
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
