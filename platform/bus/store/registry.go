package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"

	"github.com/lib/pq"
	"github.com/lib/pq/pqerror"

	"millrace/platform/errs"
)

// Registry is the table bus.topics, which has how each topic travels, for a process that is
// configured for one transport.
type Registry struct {
	Topics    pq.StringArray // of all modules
	Transport string         // OnPostgres, or a bridge's name
}

// Register compares the registry with the configuration. It inserts the topics that are not
// there, if the user may: see admin.RegisterTopics. db has the search path bus.
func (r *Registry) Register(ctx context.Context, db *sql.DB) error {
	for _, topic := range r.Topics {
		var transport string
		err := db.QueryRowContext(ctx, `SELECT transport FROM topics WHERE name = $1`, topic).Scan(&transport)
		if errors.Is(err, sql.ErrNoRows) {
			_, err = db.ExecContext(ctx, `INSERT INTO topics (name, transport) VALUES ($1, $2) ON CONFLICT DO NOTHING`, topic, r.Transport)
			if pq.As(err, pqerror.InsufficientPrivilege) != nil {
				return errs.New(errs.Forbidden, "topic %s is not registered, and this user may not register it: run `millrace migrate` as the owner of the tables", topic)
			}
			if err == nil { // perhaps another process was faster
				err = db.QueryRowContext(ctx, `SELECT transport FROM topics WHERE name = $1`, topic).Scan(&transport)
			}
		}
		if err != nil {
			return fmt.Errorf("register topic %s: %w", topic, err)
		}
		if transport != r.Transport {
			return errs.InvalidField("transport", "topic %s travels by %s in this database; this process is configured for %s", topic, transport, r.Transport)
		}
	}
	return nil
}

// Check makes sure that the installation was not switched to another transport since the
// start. Rows of topics that this version does not have are not looked at: every module's role
// may insert some.
func (r *Registry) Check(ctx context.Context, db interface {
	QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row
}) error {
	var other sql.NullString
	if err := db.QueryRowContext(ctx, `SELECT max(transport) FROM bus.topics WHERE transport <> $1 AND name = ANY($2)`, r.Transport, r.Topics).Scan(&other); err != nil {
		return fmt.Errorf("read the registry: %w", err)
	}
	if other.Valid {
		return errs.As(errs.Resource, SwitchedError{other.String, r.Transport})
	}
	return nil
}

// SwitchedError is the error of a process after the installation was switched to another
// transport. It does not pass by itself.
type SwitchedError struct{ Now, Configured string }

func (e SwitchedError) Error() string {
	return fmt.Sprintf("messages travel by %s in this database now, and this process is configured for %s: end it, and start it with the present configuration", e.Now, e.Configured)
}

// SetTopicID records the ID of a broker's topic. Another one than before means that what was
// in the topic is gone: then the relays of this database send everything again that is still
// there, and who has handled it drops it. db has the search path bus.
func SetTopicID(ctx context.Context, db *sql.DB, modules []string, topic, id string) (again bool, err error) {
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		return false, fmt.Errorf("begin: %w", err)
	}
	defer func() { _ = tx.Rollback() }() // after the commit it does nothing; else the first error is the one to return
	var known string
	if err := tx.QueryRowContext(ctx, `SELECT topic_id FROM topics WHERE name = $1 FOR UPDATE`, topic).Scan(&known); err != nil {
		return false, fmt.Errorf("topic ID of %s: %w", topic, err)
	}
	if known == id {
		return false, nil
	}
	if _, err := tx.ExecContext(ctx, `UPDATE topics SET topic_id = $2 WHERE name = $1`, topic, id); err != nil {
		return false, fmt.Errorf("topic ID of %s: %w", topic, err)
	}
	if known != "" {
		for _, module := range modules {
			if err := rewind(ctx, tx, module, topic); err != nil {
				return false, fmt.Errorf("topic ID of %s: %w", topic, err)
			}
		}
	}
	if err := tx.Commit(); err != nil {
		return false, fmt.Errorf("topic ID of %s: %w", topic, err)
	}
	return known != "", nil
}

// rewind makes a module's relay send a topic again. The partitions are released: the node that
// claims one next reads its new offset.
func rewind(ctx context.Context, tx *sql.Tx, module, topic string) error {
	var here bool
	if err := tx.QueryRowContext(ctx, `SELECT to_regclass($1) IS NOT NULL`, module+".offsets").Scan(&here); err != nil || !here {
		return err // another database's
	}
	_, err := tx.ExecContext(ctx, fmt.Sprintf(`
		UPDATE %[1]s.offsets p SET node = NULL, committed_offset = least(p.committed_offset, CASE WHEN p.topic = $2
			THEN (SELECT coalesce(min(l."offset"), 1) - 1 FROM %[1]s.log l WHERE l.partition = p.partition)
			ELSE (SELECT coalesce(min(o."offset") - 1, p.committed_offset) FROM %[1]s.outbox o WHERE o.topic = $2 AND o.partition = p.partition) END)
		WHERE p.subscriber = $1 AND split_part(p.topic, '/', 1) = $2`, module), RelayOf(module), topic)
	return err
}

// RefuseUnsafe refuses a server that confirms commits before they are on its disk: in a crash
// it would forget what other processes have seen, and offsets behind which they have gone. Where that
// does no harm, a statement sets it itself.
func RefuseUnsafe(ctx context.Context, db *sql.DB) error {
	var waits, database string
	if err := db.QueryRowContext(ctx, `SELECT current_setting('synchronous_commit'), quote_ident(current_database())`).Scan(&waits, &database); err != nil {
		return fmt.Errorf("how commits are confirmed: %w", err)
	}
	if waits == "off" {
		return errs.InvalidField("URL", "the database confirms commits before they are on its disk (synchronous_commit = off), so a crash loses messages that were accepted: "+
			"ALTER DATABASE %s SET synchronous_commit = on, or leave the setting out of the URL and the role", database)
	}
	return nil
}
