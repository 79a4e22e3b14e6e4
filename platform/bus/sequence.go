package bus

import (
	"context"
	"database/sql"
	"errors"
	"fmt"

	"github.com/lib/pq"

	"millrace/platform/errs"
)

// sequenceOf finds the sequence that a unique index's column draws from, and how
// far it is. $1 is the table's schema, $2 the table, $3 the index, which has the
// constraint's name.
const sequenceOf = `
SELECT a.attname, s.name, pg_sequence_last_value(s.name::regclass)
FROM pg_index i
JOIN pg_class x ON x.oid = i.indexrelid AND x.relname = $3
JOIN pg_class c ON c.oid = i.indrelid AND c.relname = $2
JOIN pg_namespace n ON n.oid = c.relnamespace AND n.nspname = $1
JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = ANY(i.indkey)
LEFT JOIN pg_attrdef d ON d.adrelid = c.oid AND d.adnum = a.attnum
CROSS JOIN LATERAL (SELECT coalesce(
	pg_get_serial_sequence(quote_ident(n.nspname) || '.' || quote_ident(c.relname), a.attname),
	substring(pg_get_expr(d.adbin, d.adrelid) FROM '^nextval\(''(.*)''::regclass\)$')) AS name) s
WHERE s.name IS NOT NULL
LIMIT 1`

// behind gives err the kind Resource if it is a collision of a key that came from
// a sequence which is behind its table, as after an upgrade by logical
// replication: an operator must mend the database, and until then each
// message would fail. A sequence that is not behind any more, or never was because
// the handler chose the key, makes it Contention: the immediate retry shows which. Any
// other error is returned as it is. tx is usable; nothing of the handler is in it.
func behind(ctx context.Context, tx *sql.Tx, err error) error {
	var pg *pq.Error
	if !errors.As(err, &pg) || pg.Code != "23505" || errs.KindOf(err) != errs.Unknown {
		return err
	}
	var column, sequence string
	var last, greatest int64
	if _, failed := tx.ExecContext(ctx, "SAVEPOINT sequence"); failed != nil {
		return err
	}
	found := tx.QueryRowContext(ctx, sequenceOf, pg.Schema, pg.Table, pg.Constraint).Scan(&column, &sequence, &last)
	if found == nil {
		found = tx.QueryRowContext(ctx, fmt.Sprintf("SELECT coalesce(max(%s), 0) FROM %s.%s",
			pq.QuoteIdentifier(column), pq.QuoteIdentifier(pg.Schema), pq.QuoteIdentifier(pg.Table))).Scan(&greatest)
	}
	if _, failed := tx.ExecContext(ctx, "ROLLBACK TO SAVEPOINT sequence"); failed != nil || found != nil {
		return err
	}
	if last >= greatest {
		return errs.As(errs.Contention, err)
	}
	return errs.New(errs.Resource, "the sequence %[1]s is at %[2]d and its table at %[3]d, so SELECT setval('%[1]s', %[3]d): %[4]w", sequence, last, greatest, err)
}
