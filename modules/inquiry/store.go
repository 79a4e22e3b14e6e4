package inquiry

import (
	"context"
	"database/sql"
	"errors"
	"time"

	"github.com/google/uuid"

	"millrace/modules/consultation/consultationapi"
	"millrace/modules/inquiry/inquiryapi"
	"millrace/platform/bus"
	"millrace/platform/errs"
)

// ensureRoom returns the room of a consultation, opened if there is none yet,
// and locks it. A customer who is already known stays.
func ensureRoom(ctx context.Context, tx *bus.Tx, consultationID, hospitalID int64, memberID *int64) (room, error) {
	id, err := uuid.NewV7()
	if err != nil {
		return room{}, err
	}
	r := room{consultationID: consultationID}
	err = tx.QueryRowContext(ctx, `
		INSERT INTO room (id, consultation_id, hospital_id, member_id) VALUES ($1, $2, $3, $4)
		ON CONFLICT (consultation_id) DO UPDATE SET member_id = coalesce(room.member_id, excluded.member_id)
		RETURNING id, hospital_id, member_id`, id, consultationID, hospitalID, memberID).
		Scan(&r.id, &r.hospitalID, &r.memberID)
	return r, err
}

// lockRoom returns the room of a consultation and keeps its numbering to this
// transaction.
func lockRoom(ctx context.Context, tx *bus.Tx, consultationID int64) (room, error) {
	r := room{consultationID: consultationID}
	err := tx.QueryRowContext(ctx, `SELECT id, hospital_id, member_id FROM room WHERE consultation_id = $1 FOR UPDATE`, consultationID).
		Scan(&r.id, &r.hospitalID, &r.memberID)
	return r, orNotFound(err, consultationID)
}

func orNotFound(err error, consultationID int64) error {
	if errors.Is(err, sql.ErrNoRows) {
		return errs.New(errs.NotFound, "there is no room for consultation %d (yet: it opens a moment after the consultation)", consultationID)
	}
	return err
}

// insertCard puts a card at the end of a locked room. cause is the message that
// told of the move; a second card for it is refused by a constraint.
func insertCard(ctx context.Context, tx *bus.Tx, r room, id uuid.UUID, card statusCard, s step, cause uuid.UUID) (position int64, err error) {
	err = tx.QueryRowContext(ctx, `
		WITH here AS (UPDATE room SET last_position = last_position + 1 WHERE id = $1 RETURNING last_position)
		INSERT INTO entry (room_id, position, id, speaker, at, card, transition, actor, prev_state, cause_id)
		VALUES ($1, (SELECT last_position FROM here), $2, $3, $4, $5, $6, $7, nullif($8, ''), $9)
		RETURNING position`,
		r.id, id, card.speaker, s.at, card.card, s.transition, s.actor, s.prevState, cause).
		Scan(&position)
	return position, err
}

// insertMessage puts a message at the end of a locked room.
func insertMessage(ctx context.Context, tx *bus.Tx, r room, id uuid.UUID, what saying) (entry, error) {
	posted := entry{ID: id, Speaker: what.speaker, Text: what.text}
	err := tx.QueryRowContext(ctx, `
		WITH here AS (UPDATE room SET last_position = last_position + 1 WHERE id = $1 RETURNING last_position)
		INSERT INTO entry (room_id, position, id, speaker, at, text, request_key)
		VALUES ($1, (SELECT last_position FROM here), $2, $3, clock_timestamp(), $4, nullif($5, ''))
		RETURNING position, at`,
		r.id, id, what.speaker, what.text, what.key).
		Scan(&posted.Position, &posted.At)
	return posted, err
}

// messageOf returns the message that was posted with the key.
func messageOf(ctx context.Context, tx *bus.Tx, r room, key string) (entry, bool, error) {
	var e entry
	if key == "" {
		return e, false, nil
	}
	err := tx.QueryRowContext(ctx, `SELECT position, id, speaker, at, text FROM entry WHERE room_id = $1 AND request_key = $2`, r.id, key).
		Scan(&e.Position, &e.ID, &e.Speaker, &e.At, &e.Text)
	if errors.Is(err, sql.ErrNoRows) {
		return e, false, nil
	}
	return e, err == nil, err
}

// entry is one line of a room. A card has no text of its own: it follows from
// who did what.
type entry struct {
	Position   int64
	ID         uuid.UUID
	Speaker    inquiryapi.Speaker
	At         time.Time
	Card       inquiryapi.Card // "" for a message
	Transition consultationapi.Transition
	Actor      consultationapi.Actor
	PrevState  consultationapi.Status
	Text       string
}

// transcript returns a room and up to limit of its entries after a position.
func transcript(ctx context.Context, db *bus.DB, consultationID, after int64, limit int) (room, []entry, error) {
	r := room{consultationID: consultationID}
	err := db.QueryRowContext(ctx, `SELECT id, hospital_id, member_id FROM room WHERE consultation_id = $1`, consultationID).
		Scan(&r.id, &r.hospitalID, &r.memberID)
	if err != nil {
		return r, nil, orNotFound(err, consultationID)
	}
	rows, err := db.QueryContext(ctx, `
		SELECT position, id, speaker, at, coalesce(card, ''), coalesce(transition, ''), coalesce(actor, ''), coalesce(prev_state, ''), coalesce(text, '')
		FROM entry WHERE room_id = $1 AND position > $2 ORDER BY position LIMIT $3`, r.id, after, limit)
	if err != nil {
		return r, nil, err
	}
	defer rows.Close()
	entries := []entry{}
	for rows.Next() {
		var e entry
		if err := rows.Scan(&e.Position, &e.ID, &e.Speaker, &e.At, &e.Card, &e.Transition, &e.Actor, &e.PrevState, &e.Text); err != nil {
			return r, nil, err
		}
		entries = append(entries, e)
	}
	return r, entries, rows.Err()
}
