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

// ensureRoom locks and returns the room of a consultation, and creates it if
// there is none. It does not change a customer that is already known.
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

// roomVersion is the SQL for a room's version: it starts at 1 and grows with
// each entry, and when the customer becomes known.
const roomVersion = `1 + last_position + (member_id IS NOT NULL)::int`

// lockRoom locks and returns the room of a consultation, so that no other
// transaction assigns positions in it.
func lockRoom(ctx context.Context, tx *bus.Tx, consultationID int64) (room, error) {
	r := room{consultationID: consultationID}
	err := tx.QueryRowContext(ctx, `SELECT id, hospital_id, member_id, `+roomVersion+` FROM room WHERE consultation_id = $1 FOR UPDATE`, consultationID).
		Scan(&r.id, &r.hospitalID, &r.memberID, &r.version)
	return r, orNotFound(err, consultationID)
}

func orNotFound(err error, consultationID int64) error {
	if errors.Is(err, sql.ErrNoRows) {
		return errs.New(errs.NotFound, "there is no room for consultation %d (yet: it opens a moment after the consultation)", consultationID)
	}
	return err
}

// insertCard appends a card to a locked room. cause is the ID of the event; a
// constraint refuses a second card for the same event.
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

// insertMessage appends a message to a locked room.
func insertMessage(ctx context.Context, tx *bus.Tx, r room, id uuid.UUID, what newMessage) (entry, error) {
	posted := entry{ID: id, Speaker: what.speaker, Text: what.text}
	err := tx.QueryRowContext(ctx, `
		WITH here AS (UPDATE room SET last_position = last_position + 1 WHERE id = $1 RETURNING last_position)
		INSERT INTO entry (room_id, position, id, speaker, at, text)
		VALUES ($1, (SELECT last_position FROM here), $2, $3, clock_timestamp(), $4)
		RETURNING position, at`,
		r.id, id, what.speaker, what.text).
		Scan(&posted.Position, &posted.At)
	return posted, err
}

// messageAt returns the message at a position of a room.
func messageAt(ctx context.Context, tx *bus.Tx, r room, position int64) (entry, error) {
	var e entry
	err := tx.QueryRowContext(ctx, `SELECT position, id, speaker, at, text FROM entry WHERE room_id = $1 AND position = $2`, r.id, position).
		Scan(&e.Position, &e.ID, &e.Speaker, &e.At, &e.Text)
	return e, err
}

// entry is one line of a room. A card stores no text: its text follows from the
// move.
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

const entryColumns = `position, id, speaker, at, coalesce(card, ''), coalesce(transition, ''), coalesce(actor, ''), coalesce(prev_state, ''), coalesce(text, '')`

// transcript returns a room and up to limit of its entries after a position,
// oldest first.
func transcript(ctx context.Context, db *bus.DB, consultationID, after int64, limit int) (room, []entry, error) {
	r, err := findRoom(ctx, db, consultationID)
	if err != nil {
		return r, nil, err
	}
	entries, err := scanEntries(db.QueryContext(ctx,
		`SELECT `+entryColumns+` FROM entry WHERE room_id = $1 AND position > $2 ORDER BY position LIMIT $3`, r.id, after, limit))
	return r, entries, err
}

// newest returns up to limit entries of a room before a position, newest first.
func newest(ctx context.Context, db *bus.DB, consultationID, before int64, limit int) ([]entry, error) {
	r, err := findRoom(ctx, db, consultationID)
	if err != nil {
		return nil, err
	}
	return scanEntries(db.QueryContext(ctx,
		`SELECT `+entryColumns+` FROM entry WHERE room_id = $1 AND position < $2 ORDER BY position DESC LIMIT $3`, r.id, before, limit))
}

func findRoom(ctx context.Context, db *bus.DB, consultationID int64) (room, error) {
	r := room{consultationID: consultationID}
	err := db.QueryRowContext(ctx, `SELECT id, hospital_id, member_id, `+roomVersion+` FROM room WHERE consultation_id = $1`, consultationID).
		Scan(&r.id, &r.hospitalID, &r.memberID, &r.version)
	return r, orNotFound(err, consultationID)
}

func scanEntries(rows *sql.Rows, err error) ([]entry, error) {
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	entries := []entry{}
	for rows.Next() {
		var e entry
		if err := rows.Scan(&e.Position, &e.ID, &e.Speaker, &e.At, &e.Card, &e.Transition, &e.Actor, &e.PrevState, &e.Text); err != nil {
			return nil, err
		}
		entries = append(entries, e)
	}
	return entries, rows.Err()
}
