package dataplatform

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"

	"millrace/platform/bus"
)

func stageRecord(ctx context.Context, tx *bus.Tx, r record) error {
	_, err := tx.ExecContext(ctx, `
		INSERT INTO record (message_id, type, source, key, time, topic, partition, sequence, dataschema, correlation, causation, payload)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)
		ON CONFLICT (message_id, topic) DO NOTHING`,
		r.MessageID, r.Type, r.Source, r.Key, r.Time, r.Topic, r.Partition, r.Sequence, r.Schema, r.Correlation, r.Causation, r.Payload)
	return err
}

// acquireLease acquires or renews the write lease for owner. It returns false
// while another process holds it.
func acquireLease(ctx context.Context, tx *bus.Tx, owner uuid.UUID, lease time.Duration) (bool, error) {
	return changed(tx.ExecContext(ctx, `
		UPDATE flusher SET owner = $1, lease_until = now() + $2 * interval '1 millisecond'
		WHERE owner = $1 OR lease_until <= now()`, owner, lease.Milliseconds()))
}

// holdLease locks the write lease until the transaction ends; it returns false
// if owner has lost it.
func holdLease(ctx context.Context, tx *bus.Tx, owner uuid.UUID) (bool, error) {
	return changed(tx.ExecContext(ctx, `UPDATE flusher SET lease_until = lease_until WHERE owner = $1`, owner))
}

func releaseLease(ctx context.Context, tx *bus.Tx, owner uuid.UUID) error {
	_, err := tx.ExecContext(ctx, `UPDATE flusher SET lease_until = now() WHERE owner = $1`, owner)
	return err
}

// begunFile returns the file whose range was fixed and that is not recorded as
// written.
func begunFile(ctx context.Context, tx *bus.Tx) (f file, found bool, err error) {
	err = tx.QueryRowContext(ctx, `SELECT first_position, last_position, fixed_at FROM file WHERE written_at IS NULL`).
		Scan(&f.First, &f.Last, &f.FixedAt)
	if errors.Is(err, sql.ErrNoRows) {
		return file{}, false, nil
	}
	return f, err == nil, err
}

// waiting reports whether a file is due: rows records wait, or the oldest has
// waited for age.
func waiting(ctx context.Context, tx *bus.Tx, rows int, age time.Duration) (due bool, err error) {
	err = tx.QueryRowContext(ctx, `
		SELECT EXISTS (SELECT 1 FROM record WHERE position IS NULL AND staged_at <= now() - $2 * interval '1 millisecond')
		    OR (SELECT count(*) FROM (SELECT 1 FROM record WHERE position IS NULL LIMIT $1) w) >= $1`,
		rows, age.Milliseconds()).Scan(&due)
	return due, err
}

// fixRange assigns the next positions to the oldest waiting records, at most
// limit, and inserts their file. The caller holds the write lease.
func fixRange(ctx context.Context, tx *bus.Tx, limit int) (f file, found bool, err error) {
	if err := tx.QueryRowContext(ctx, `SELECT coalesce(max(last_position), 0) + 1 FROM file`).Scan(&f.First); err != nil {
		return file{}, false, err
	}
	result, err := tx.ExecContext(ctx, `
		WITH oldest AS MATERIALIZED (
			SELECT message_id, topic, $1 - 1 + row_number() OVER (ORDER BY staged_at, topic, partition, sequence) AS position
			FROM record WHERE position IS NULL
			ORDER BY staged_at, topic, partition, sequence LIMIT $2
		)
		UPDATE record r SET position = o.position FROM oldest o WHERE r.message_id = o.message_id AND r.topic = o.topic`, f.First, limit)
	if err != nil {
		return file{}, false, err
	}
	rows, err := result.RowsAffected()
	if err != nil || rows == 0 {
		return file{}, false, err
	}
	f.Last = f.First + rows - 1
	err = tx.QueryRowContext(ctx, `INSERT INTO file (first_position, last_position) VALUES ($1, $2) RETURNING fixed_at`,
		f.First, f.Last).Scan(&f.FixedAt)
	return f, err == nil, err
}

// recordFile records that the file is complete. Repeating it changes nothing.
func recordFile(ctx context.Context, tx *bus.Tx, f file) error {
	_, err := tx.ExecContext(ctx, `
		UPDATE file SET written_at = now(), bytes = $3, sha256 = $4
		WHERE first_position = $1 AND last_position = $2 AND written_at IS NULL`, f.First, f.Last, f.Bytes, f.SHA256)
	return err
}

const columns = `coalesce(position, 0), message_id, type, source, key, time, topic, partition, sequence, dataschema, correlation, causation, payload, staged_at`

// recordsBetween returns a page of a range, in the order of positions.
func recordsBetween(ctx context.Context, db *bus.DB, first, last int64) ([]record, error) {
	return scanRecords(db.QueryContext(ctx,
		`SELECT `+columns+` FROM record WHERE position BETWEEN $1 AND $2 ORDER BY position`, first, last))
}

// place is a cursor in the list of a key's records.
type place struct {
	StagedAt  time.Time `json:"at"`
	Topic     string    `json:"t"`
	Partition int32     `json:"p"`
	Sequence  int64     `json:"n"`
}

// afterAll sorts after every record.
var afterAll = place{StagedAt: time.Date(9999, 1, 1, 0, 0, 0, 0, time.UTC)}

// recordsOf returns the events of a key that are older than behind, newest
// first.
func recordsOf(ctx context.Context, db *bus.DB, key string, behind place, limit int) ([]record, error) {
	return scanRecords(db.QueryContext(ctx,
		`SELECT `+columns+` FROM record
		WHERE key = $1 AND (staged_at, topic, partition, sequence) < ($2, $3, $4, $5)
		ORDER BY staged_at DESC, topic DESC, partition DESC, sequence DESC LIMIT $6`,
		key, behind.StagedAt, behind.Topic, behind.Partition, behind.Sequence, limit))
}

func scanRecords(rows *sql.Rows, err error) ([]record, error) {
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	all := []record{}
	for rows.Next() {
		var r record
		if err := rows.Scan(&r.Position, &r.MessageID, &r.Type, &r.Source, &r.Key, &r.Time, &r.Topic, &r.Partition,
			&r.Sequence, &r.Schema, &r.Correlation, &r.Causation, &r.Payload, &r.stagedAt); err != nil {
			return nil, fmt.Errorf("scan a record: %w", err)
		}
		if r.Time != nil {
			*r.Time = r.Time.UTC()
		}
		all = append(all, r)
	}
	return all, rows.Err()
}

// files returns the written files that begin before a position, newest first.
func files(ctx context.Context, db *bus.DB, before int64, limit int) ([]file, error) {
	rows, err := db.QueryContext(ctx, `
		SELECT first_position, last_position, bytes, sha256, fixed_at, written_at
		FROM file WHERE written_at IS NOT NULL AND first_position < $1 ORDER BY first_position DESC LIMIT $2`, before, limit)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	all := []file{}
	for rows.Next() {
		var f file
		if err := rows.Scan(&f.First, &f.Last, &f.Bytes, &f.SHA256, &f.FixedAt, &f.WrittenAt); err != nil {
			return nil, err
		}
		all = append(all, f)
	}
	return all, rows.Err()
}

func changed(result sql.Result, err error) (bool, error) {
	if err != nil {
		return false, err
	}
	rows, err := result.RowsAffected()
	return rows > 0, err
}
