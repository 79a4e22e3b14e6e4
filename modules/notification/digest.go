package notification

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/lib/pq"

	"millrace/platform/bus"
	"millrace/platform/errs"
	"millrace/platform/mail"
	"millrace/platform/outbound"
)

// admit counts a notification's mail for a recipient. Beyond the limit it adds
// the notification to a digest, records a call for a new digest, and returns
// sends = false.
func (s *service) admit(ctx context.Context, tx *bus.Tx, n notification, recipient string) (sends bool, err error) {
	k := kindOf(n.Template)
	digest, opened, wait, err := s.limits.admit(ctx, tx, recipient, k)
	if err != nil || digest == uuid.Nil {
		return err == nil, err
	}
	if _, err := tx.ExecContext(ctx, `
		WITH member AS (INSERT INTO collected (digest_id, notification_id) VALUES ($2, $1))
		UPDATE notifications SET state = 'collected', digest_id = $2, recipient = $3, updated_at = now(),
			last_error = '' WHERE id = $1`, n.ID, digest, recipient); err != nil {
		return false, fmt.Errorf("collect a notification: %w", err)
	}
	if opened {
		_, err = s.mails.RecordAfter(ctx, tx, wait, digest.String(), mailCall{DigestID: digest, Recipient: recipient, Kind: k})
	}
	return false, err
}

// makeDigest closes a digest so that nothing more is added, records an attempt
// and renders the mail. A notification whose contact has changed to another
// mailbox leaves the digest; it is queued for the new address and counted
// there.
func (s *service) makeDigest(ctx context.Context, call outbound.Call[mailCall]) (*mail.Message, error) {
	var members []notification
	var to contact
	if err := s.db.InTx(ctx, func(tx *bus.Tx) (err error) {
		if err := closeDigest(ctx, tx, call.Payload); err != nil {
			return err
		}
		all, contacts, err := lockCollected(ctx, tx, call.Payload.DigestID)
		if err != nil {
			return err
		}
		members = nil
		for i, n := range all {
			if recipientOf(contacts[i].Email) == call.Payload.Recipient {
				members, to = append(members, n), contacts[i]
				continue
			}
			if err := leaveDigest(ctx, tx, call.Payload.DigestID, n.ID); err != nil {
				return err
			}
			if err := s.queue(ctx, tx, n); err != nil {
				return err
			}
		}
		return beginDigest(ctx, tx, call.Payload.DigestID, call.Attempt)
	}); err != nil {
		return nil, outbound.NotMade(err)
	}
	if len(members) == 0 {
		return nil, nil
	}
	r, err := renderDigest(members, to.Language)
	if err != nil {
		return nil, err
	}
	return message(call.Payload.DigestID, to, r), nil
}

// closeDigest waits for transactions that are adding to the digest.
func closeDigest(ctx context.Context, tx *bus.Tx, c mailCall) error {
	_, err := tx.ExecContext(ctx, `UPDATE recipients SET digest_id = NULL WHERE recipient = $1 AND kind = $2 AND digest_id = $3`,
		c.Recipient, c.Kind, c.DigestID)
	return err
}

// lockCollected returns the notifications of a digest, oldest first, each with
// its user's current contact.
func lockCollected(ctx context.Context, tx *bus.Tx, digest uuid.UUID) (all []notification, contacts []contact, err error) {
	defer errs.Wrap(&err, "read digest %s", digest)
	rows, err := tx.QueryContext(ctx, `
		SELECT n.id, n.template, n.subject, n.params, n.created_at, c.email, c.language
		FROM collected m JOIN notifications n ON n.id = m.notification_id JOIN contacts c ON c.user_id = n.user_id
		WHERE m.digest_id = $1 ORDER BY n.id FOR UPDATE OF n`, digest)
	if err != nil {
		return nil, nil, err
	}
	defer rows.Close()
	for rows.Next() {
		var n notification
		var c contact
		var params []byte
		if err := rows.Scan(&n.ID, &n.Template, &n.Subject, &params, &n.CreatedAt, &c.Email, &c.Language); err != nil {
			return nil, nil, err
		}
		if err := json.Unmarshal(params, &n.Params); err != nil {
			return nil, nil, err
		}
		all, contacts = append(all, n), append(contacts, c)
	}
	return all, contacts, rows.Err()
}

// leaveDigest removes a notification from a digest and queues it by itself.
func leaveDigest(ctx context.Context, tx *bus.Tx, digest, id uuid.UUID) error {
	_, err := tx.ExecContext(ctx, `
		WITH gone AS (DELETE FROM collected WHERE digest_id = $1 AND notification_id = $2)
		UPDATE notifications SET state = 'queued', digest_id = NULL, last_error = '', updated_at = now() WHERE id = $2`, digest, id)
	return err
}

func beginDigest(ctx context.Context, tx *bus.Tx, digest uuid.UUID, attempt int) error {
	_, err := tx.ExecContext(ctx, `
		UPDATE notifications SET state = 'sending', last_error = '', attempts = greatest(attempts, $2), updated_at = now()
		WHERE id IN (SELECT notification_id FROM collected WHERE digest_id = $1)`, digest, attempt)
	return err
}

// recollect records that the mail server did not accept a digest's mail yet.
func recollect(ctx context.Context, tx *bus.Tx, digest uuid.UUID, attempts int) error {
	_, err := tx.ExecContext(ctx, `
		UPDATE notifications SET state = 'collected', attempts = $2, updated_at = now()
		WHERE id IN (SELECT notification_id FROM collected WHERE digest_id = $1) AND state = 'sending'`, digest, attempts)
	return err
}

// takeCollected returns the IDs of a digest's notifications, oldest first. If
// the mail was sent it deletes the list; a failed digest keeps it, so that an
// operator can retry.
func takeCollected(ctx context.Context, tx *bus.Tx, digest uuid.UUID, done bool) ([]uuid.UUID, error) {
	text := `SELECT coalesce(array_agg(notification_id::text ORDER BY notification_id), '{}') FROM collected WHERE digest_id = $1`
	if done {
		text = `WITH taken AS (DELETE FROM collected WHERE digest_id = $1 RETURNING notification_id)
			SELECT coalesce(array_agg(notification_id::text ORDER BY notification_id), '{}') FROM taken`
	}
	var texts []string
	if err := tx.QueryRowContext(ctx, text, digest).Scan(pq.Array(&texts)); err != nil {
		return nil, err
	}
	ids := make([]uuid.UUID, len(texts))
	for i, text := range texts {
		var err error
		if ids[i], err = uuid.Parse(text); err != nil {
			return nil, err
		}
	}
	return ids, nil
}

// linesEach is the maximum number of changes that a digest lists for one
// consultation, newest first. For an order it lists all, because each may be a
// receipt.
const linesEach = 10

// group is the part of a digest about one order or consultation.
type group struct {
	Subject string
	Lines   []string // newest first
	More    int      // number of older lines that are omitted
}

// renderDigest renders notifications, given oldest first, as one mail.
func renderDigest(members []notification, lang language) (rendered, error) {
	if len(members) == 1 {
		return render(members[0], lang)
	}
	var groups []*group
	bySubject := map[string]*group{}
	for i := len(members) - 1; i >= 0; i-- {
		n := members[i]
		g := bySubject[n.Subject]
		if g == nil {
			g = &group{Subject: n.Subject}
			bySubject[n.Subject] = g
			groups = append(groups, g)
		}
		if kindOf(n.Template) == reservations && len(g.Lines) == linesEach {
			g.More++
			continue
		}
		line, err := digestLine(n, lang)
		if err != nil {
			return rendered{}, err
		}
		g.Lines = append(g.Lines, line)
	}
	return renderAs("digest_"+string(kindOf(members[0].Template)), map[string]any{"count": len(members), "groups": groups}, lang)
}

// digestLine returns one line of a digest: the time, the mail's title without
// the subject (the group's heading shows it), and the amount.
func digestLine(n notification, lang language) (string, error) {
	title, err := renderPart(n.Template+".title", n.data(), lang)
	if err != nil {
		return "", err
	}
	line := moment(lang, n.CreatedAt) + " " + strings.TrimSuffix(title, " ("+n.Subject+")")
	if amount, given := n.Params[paramAmount]; given {
		text, err := money(lang, amount, n.Params[paramCurrency])
		if err != nil {
			return "", err
		}
		line += ", " + text
	}
	return line, nil
}

// seoul is the time zone of the times in mails. It has no daylight saving time.
var seoul = time.FixedZone("KST", 9*60*60)

func moment(lang language, at time.Time) string {
	at = at.In(seoul)
	if lang == korean {
		return fmt.Sprintf("%d월 %d일(%s) %s", at.Month(), at.Day(), []string{"일", "월", "화", "수", "목", "금", "토"}[at.Weekday()], at.Format("15:04"))
	}
	return at.Format("Mon 2 Jan, 15:04") + ":"
}
