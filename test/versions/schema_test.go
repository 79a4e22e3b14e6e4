package versions_test

import (
	"context"
	"database/sql"
	"flag"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"millrace/cmd/millrace/app"
	"millrace/config"
	"millrace/platform/postgres"
	"millrace/platform/postgres/pgtest"
)

var record = flag.Bool("record", false, "note the present schema in schema.txt: at a release")

func TestSchema_WorksForThePreviousVersion(t *testing.T) {
	t.Parallel()
	present := schemaOf(t, migrated(t))
	if *record {
		require.NoError(t, os.WriteFile("schema.txt", []byte(present.String()), 0o644)) //nolint:gosec // a file of the repository
	}
	text, err := os.ReadFile("schema.txt")
	require.NoError(t, err)
	before, err := parse(string(text))
	require.NoError(t, err)
	require.Greater(t, len(before), 100, "schema.txt is not whole")
	found := harm(before, present)
	for fault, reason := range accepted {
		require.Contains(t, found, fault, "accepted, because %s; harm no longer finds it", reason)
	}
	found = slices.DeleteFunc(found, func(fault string) bool { return accepted[fault] != "" })
	require.Empty(t, found, "the version before cannot work on this schema")
}

// Each change is a migration of the real schema, in a transaction that is rolled back.
func TestHarm_FindsEveryIncompatibleChange(t *testing.T) {
	t.Parallel()
	db := migrated(t)
	before := schemaOf(t, db)
	require.Empty(t, harm(before, before))
	for _, change := range []struct{ migration, fault string }{
		{`ALTER TABLE payment.log DROP COLUMN created_at`, "column payment.log.created_at is gone"},
		{`ALTER TABLE payment.log RENAME COLUMN key TO subject`, "column payment.log.key is gone"},
		{`ALTER TABLE payment.log ALTER COLUMN metadata TYPE jsonb`, "column payment.log.metadata was json, is jsonb"},
		{`ALTER TABLE payment.parked_messages ALTER COLUMN failed_at SET NOT NULL`, "column payment.parked_messages.failed_at may not be null any more"},
		{`ALTER TABLE payment.log ALTER COLUMN created_at DROP DEFAULT`, "column payment.log.created_at has no default any more"},
		{`ALTER TABLE payment.log ADD COLUMN tenant text NOT NULL`, "new column payment.log.tenant is not null, and has no default"},
		{`ALTER TABLE payment.inbox ADD CHECK ("offset" < 1000)`, `new rule on payment.inbox: CHECK (("offset" < 1000))`},
		{`ALTER TABLE payment.inbox ADD UNIQUE (subscriber, topic, partition, "offset")`, `new rule on payment.inbox: UNIQUE (subscriber, topic, partition, "offset")`},
		{`CREATE UNIQUE INDEX ON payment.inbox (handled_at) WHERE subscriber = 'x'`, `new rule on payment.inbox: UNIQUE (handled_at) WHERE (subscriber = 'x'::text)`},
		{`ALTER TABLE payment.inbox ADD EXCLUDE USING btree (message_id WITH =)`, `new rule on payment.inbox: EXCLUDE USING btree (message_id WITH =)`},
		{`ALTER TABLE payment.inbox ADD FOREIGN KEY (topic) REFERENCES bus.topics`, `new rule on payment.inbox: FOREIGN KEY (topic) REFERENCES bus.topics(name)`},
		{`ALTER TABLE payment.log ADD COLUMN twice bigint UNIQUE DEFAULT 1`, `new rule on payment.log: UNIQUE (twice)`},
		{`DROP INDEX payment.inbox_once`, `payment.inbox is not UNIQUE (message_id, subscriber, split_part(topic, '/'::text, 1)) any more`},
		{`ALTER TABLE bus.topics RENAME TO roads`, "table bus.topics is gone"},
		{`DROP FUNCTION payment.append_log_one`, "function payment.append_log_one(smallint, uuid,"},
		{`DROP FUNCTION bus.lock; CREATE FUNCTION bus.lock(topics text[], partitions smallint[]) RETURNS int LANGUAGE sql AS 'SELECT 1'`,
			"function bus.lock(text[], smallint[]) returned void, returns integer"},
		{`ALTER TABLE payment.parked_messages ALTER COLUMN id DROP IDENTITY`, "column payment.parked_messages.id has no default any more"},
		{`ALTER TABLE payment.log ALTER COLUMN type TYPE varchar(10)`, "column payment.log.type was text, is character varying(10)"},
		{`ALTER SCHEMA payment RENAME TO payments`, "table payment.log is gone"},
	} {
		require.Contains(t, strings.Join(inSandbox(t, db, change.migration, before), "\n"), change.fault, change.migration)
	}
}

func TestHarm_AcceptsAdditions(t *testing.T) {
	t.Parallel()
	db := migrated(t)
	before := schemaOf(t, db)
	for _, migration := range []string{
		`CREATE TABLE payment.receipts (id bigint PRIMARY KEY, n int NOT NULL CHECK (n > 0))`,
		`ALTER TABLE payment.log ADD COLUMN tenant text`,
		`ALTER TABLE payment.log ADD COLUMN tenant text NOT NULL DEFAULT 'all' CHECK (tenant <> '')`,
		`ALTER TABLE payment.log ADD COLUMN n bigint GENERATED ALWAYS AS IDENTITY`,
		`ALTER TABLE payment.log ADD COLUMN big bigint GENERATED ALWAYS AS ("offset" * 2) STORED`,
		`ALTER TABLE payment.inbox ADD COLUMN other text UNIQUE REFERENCES bus.topics`,
		`ALTER TABLE payment.log ALTER COLUMN created_at DROP NOT NULL`,
		`ALTER TABLE payment.parked_messages DROP CONSTRAINT parked_messages_state_check`,
		`ALTER TABLE payment.log ALTER COLUMN created_at SET DEFAULT clock_timestamp()`,
		`CREATE FUNCTION payment.append_log_one(p smallint) RETURNS void LANGUAGE sql AS 'SELECT'`,
		`ALTER INDEX payment.inbox_once RENAME TO once`,
		`CREATE INDEX ON payment.inbox (topic)`,
		`CREATE SCHEMA of_a_new_module; CREATE TABLE of_a_new_module.points (id int)`,
	} {
		require.Empty(t, inSandbox(t, db, migration, before), migration)
	}
}

func TestHarm_FindsDroppedSequencesAndEnumValues(t *testing.T) {
	t.Parallel()
	db := migrated(t)
	_, err := db.ExecContext(t.Context(), `CREATE SEQUENCE payment.n; CREATE TYPE payment.mood AS ENUM ('glad', 'sad')`)
	require.NoError(t, err)
	before := schemaOf(t, db)
	require.Contains(t, strings.Join(inSandbox(t, db, `DROP SEQUENCE payment.n`, before), "\n"), "sequence payment.n is gone")
	require.Contains(t, strings.Join(inSandbox(t, db, `ALTER TYPE payment.mood RENAME VALUE 'glad' TO 'happy'`, before), "\n"), "word payment.mood glad is gone")
	require.Empty(t, inSandbox(t, db, `ALTER TYPE payment.mood RENAME TO moods; ALTER TYPE payment.moods RENAME TO mood`, before))
}

// inSandbox returns the harm that a migration does, and rolls it back.
func inSandbox(t *testing.T, db *sql.DB, migration string, before schema) []string {
	t.Helper()
	tx, err := db.BeginTx(t.Context(), nil)
	require.NoError(t, err)
	defer func() { require.NoError(t, tx.Rollback()) }()
	_, err = tx.ExecContext(t.Context(), migration)
	require.NoError(t, err, migration)
	return harm(before, schemaOf(t, tx))
}

// migrated returns a new database with all tables, as `millrace migrate` creates them.
func migrated(t *testing.T) *sql.DB {
	t.Helper()
	url := pgtest.URL(t)
	cfg := config.Default()
	cfg.Database.URL = config.Secret(url)
	database, err := app.OpenDatabase(t.Context(), cfg, nil)
	require.NoError(t, err)
	require.NoError(t, app.Migrate(t.Context(), cfg, database))
	db, err := postgres.Open(t.Context(), postgres.Config{URL: url, MaxConns: 2, Application: "versions test"})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, db.Close()) })
	return db
}

type querier interface {
	QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
}

func schemaOf(t *testing.T, db querier) schema {
	t.Helper()
	rows, err := db.QueryContext(t.Context(), catalogueSQL)
	require.NoError(t, err)
	defer rows.Close()
	found := schema{}
	for rows.Next() {
		var kind, of, name, fact string
		require.NoError(t, rows.Scan(&kind, &of, &name, &fact))
		found[item{kind, of, name}] = fact
	}
	require.NoError(t, rows.Err())
	return found
}

func TestParse_ReadsWhatStringWrites(t *testing.T) {
	t.Parallel()
	written := schemaOf(t, migrated(t))
	read, err := parse(written.String())
	require.NoError(t, err)
	require.Equal(t, written, read)
	lines := strings.Split(strings.TrimSpace(written.String()), "\n")
	require.True(t, slices.IsSorted(lines))
	_, err = parse("column\tpayment.log\n")
	require.EqualError(t, err, fmt.Sprintf("line 1: %q has not four fields, by tabs", "column\tpayment.log"))
}
