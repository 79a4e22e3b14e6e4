package consultation

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"time"

	"millrace/modules/consultation/consultationapi"
	"millrace/platform/bus"
	"millrace/platform/errs"
	"millrace/platform/web"
)

const columns = `id, hospital_id, member_id, opened_by, status, reservation_at, visitor_name, phone, memo, moves, version, raised_at, changed_at`

func (c *consultation) scan(row *sql.Row, more ...any) error {
	err := row.Scan(append([]any{
		&c.id, &c.hospitalID, &c.memberID, &c.openedBy, &c.status, &c.reservationAt,
		&c.fields.visitorName, &c.fields.phone, &c.fields.memo, &c.moves, &c.version, &c.raisedAt, &c.changedAt,
	}, more...)...)
	c.raisedAt, c.changedAt, c.reservationAt = c.raisedAt.UTC(), c.changedAt.UTC(), utc(c.reservationAt)
	return err
}

// insert stores a new consultation and returns it with its id and times.
func insert(ctx context.Context, tx *bus.Tx, c consultation) (consultation, error) {
	moves := 0
	if c.openedBy == consultationapi.Member {
		moves = 1
	}
	var made consultation
	err := made.scan(tx.QueryRowContext(ctx, `
		INSERT INTO consultation (hospital_id, member_id, opened_by, status, reservation_at, visitor_name, phone, memo, moves)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)
		RETURNING `+columns,
		c.hospitalID, c.memberID, c.openedBy, c.status, c.reservationAt, c.fields.visitorName, c.fields.phone, c.fields.memo, moves))
	return made, err
}

// lock reads and locks a consultation until the transaction ends.
func lock(ctx context.Context, tx *bus.Tx, id int64) (c consultation, err error) {
	err = c.scan(tx.QueryRowContext(ctx, `SELECT `+columns+` FROM consultation WHERE id = $1 FOR UPDATE`, id))
	if errors.Is(err, sql.ErrNoRows) {
		return c, notFound(id)
	}
	return c, err
}

func notFound(id int64) error { return errs.New(errs.NotFound, "there is no consultation %d", id) }

// update stores the changeable columns and returns the row. The time of the change
// is read after the row was locked, and never decreases even if the clock does.
func update(ctx context.Context, tx *bus.Tx, c consultation) (consultation, error) {
	var now consultation
	err := now.scan(tx.QueryRowContext(ctx, `
		UPDATE consultation
		SET status = $2, reservation_at = $3, visitor_name = $4, phone = $5, memo = $6, moves = $7,
		    version = version + 1, changed_at = greatest(changed_at, clock_timestamp())
		WHERE id = $1
		RETURNING `+columns,
		c.id, c.status, c.reservationAt, c.fields.visitorName, c.fields.phone, c.fields.memo, c.moves))
	return now, err
}

func insertMove(ctx context.Context, tx *bus.Tx, id int64, m move) error {
	_, err := tx.ExecContext(ctx, `
		INSERT INTO history (consultation_id, position, transition, actor, from_status, to_status, at, reservation_at)
		VALUES ($1, $2, $3, $4, nullif($5, ''), $6, $7, $8)`,
		id, m.Position, m.Transition, m.Actor, m.From, m.To, m.At, m.ReservationAt)
	return err
}

// touch increments the version of a locked consultation for a change outside its
// row.
func touch(ctx context.Context, tx *bus.Tx, id int64) error {
	_, err := tx.ExecContext(ctx, `UPDATE consultation SET version = version + 1 WHERE id = $1`, id)
	return err
}

// moveAt reads one row of history.
func moveAt(ctx context.Context, tx *bus.Tx, id, position int64) (m move, err error) {
	err = tx.QueryRowContext(ctx, `
		SELECT position, transition, actor, coalesce(from_status, ''), to_status, at, reservation_at
		FROM history WHERE consultation_id = $1 AND position = $2`, id, position).
		Scan(&m.Position, &m.Transition, &m.Actor, &m.From, &m.To, &m.At, &m.ReservationAt)
	m.At, m.ReservationAt = m.At.UTC(), utc(m.ReservationAt)
	return m, err
}

// record is a consultation with everything that the API shows.
type record struct {
	consultation
	history   []move // the newest moves, oldest first
	deposits  []deposit
	truncated []string // names of lists with older entries
}

// queryer is a transaction or a database.
type queryer interface {
	QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row
}

// newRecord returns what the API shows of a consultation right after its creation.
func newRecord(c consultation) record {
	c.changedAt, c.version = c.raisedAt, 1
	r := record{consultation: c, history: []move{}, deposits: []deposit{}}
	if c.openedBy == consultationapi.Member {
		r.history = append(r.history, booking(c))
	}
	return r
}

// readRaised reads the id and creation time of a consultation, which its create
// request does not contain.
func readRaised(ctx context.Context, tx *bus.Tx, id int64) (same int64, at time.Time, err error) {
	err = tx.QueryRowContext(ctx, `SELECT id, raised_at FROM consultation WHERE id = $1`, id).Scan(&same, &at)
	return same, at.UTC(), err
}

// read returns a consultation with its newest history and deposits. It is one
// statement, and so one snapshot.
func read(ctx context.Context, from queryer, id int64) (r record, err error) {
	var history, deposits []byte
	err = r.scan(from.QueryRowContext(ctx, `
		SELECT `+columns+`,
			(SELECT coalesce(jsonb_agg(jsonb_build_object(
				'position', position, 'transition', transition, 'actor', actor, 'from', coalesce(from_status, ''),
				'to', to_status, 'at', at, 'reservationAt', h.reservation_at) ORDER BY position DESC), '[]')
			 FROM (SELECT * FROM history WHERE consultation_id = c.id ORDER BY position DESC LIMIT $2) h),
			(SELECT coalesce(jsonb_agg(jsonb_build_object(
				'paymentId', payment_id, 'amount', amount, 'currency', currency, 'state', state) ORDER BY paid_at DESC, payment_id DESC), '[]')
			 FROM (SELECT * FROM deposit WHERE consultation_id = c.id ORDER BY paid_at DESC, payment_id DESC LIMIT $2) d)
		FROM consultation c WHERE id = $1`, id, web.MaxNested+1), &history, &deposits)
	if errors.Is(err, sql.ErrNoRows) {
		return r, notFound(id)
	}
	if err != nil {
		return r, err
	}
	err = errors.Join(json.Unmarshal(history, &r.history), json.Unmarshal(deposits, &r.deposits))
	var more bool
	if r.history, more = web.Newest(r.history); more {
		r.truncated = append(r.truncated, "history")
	}
	if r.deposits, more = web.Newest(r.deposits); more {
		r.truncated = append(r.truncated, "deposits")
	}
	for i := range r.history {
		m := &r.history[i]
		m.At, m.ReservationAt = m.At.UTC(), utc(m.ReservationAt)
	}
	return r, err
}

// newestMoves returns at most limit moves of a consultation before a position,
// newest first.
func newestMoves(ctx context.Context, db *bus.DB, id, before int64, limit int) ([]move, error) {
	var found bool
	if err := db.QueryRowContext(ctx, `SELECT EXISTS (SELECT FROM consultation WHERE id = $1)`, id).Scan(&found); err != nil {
		return nil, err
	}
	if !found {
		return nil, notFound(id)
	}
	rows, err := db.QueryContext(ctx, `
		SELECT position, transition, actor, coalesce(from_status, ''), to_status, at, reservation_at
		FROM history WHERE consultation_id = $1 AND position < $2 ORDER BY position DESC LIMIT $3`, id, before, limit)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	moves := []move{}
	for rows.Next() {
		var m move
		if err := rows.Scan(&m.Position, &m.Transition, &m.Actor, &m.From, &m.To, &m.At, &m.ReservationAt); err != nil {
			return nil, err
		}
		m.At, m.ReservationAt = m.At.UTC(), utc(m.ReservationAt)
		moves = append(moves, m)
	}
	return moves, rows.Err()
}

// utc converts a time from the session's time zone to UTC.
func utc(t *time.Time) *time.Time {
	if t == nil {
		return nil
	}
	at := t.UTC()
	return &at
}
