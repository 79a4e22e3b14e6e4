//go:build slow

package kafkabridge

import (
	"bytes"
	"context"
	"database/sql"
	"fmt"
	"log/slog"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"millrace/platform/postgres/pgtest"
)

// backup copies the tables of schemas. restore puts the copies back.
func backup(t *testing.T, db *sql.DB, schemas ...string) (restore func()) {
	t.Helper()
	rows, err := db.QueryContext(t.Context(), `
		SELECT n.nspname || '.' || c.relname, 'backup_' || c.oid FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
		WHERE c.relkind = 'r' AND n.nspname = ANY(string_to_array($1, ','))`, fmt.Sprint(schemas[0], ",", schemas[len(schemas)-1]))
	require.NoError(t, err)
	var tables [][2]string
	for rows.Next() {
		var pair [2]string
		require.NoError(t, rows.Scan(&pair[0], &pair[1]))
		tables = append(tables, pair)
	}
	require.NoError(t, rows.Err())
	require.True(t, slices.ContainsFunc(tables, func(p [2]string) bool { return p[0] == schemas[0]+".checkpoints" }))
	run := func(format string) {
		for _, p := range tables {
			_, err := db.ExecContext(context.Background(), fmt.Sprintf(format, p[0], p[1]))
			require.NoError(t, err, p[0])
		}
	}
	run(`CREATE TABLE public.%[2]s AS TABLE %[1]s`)
	return func() {
		run(`TRUNCATE %[1]s CASCADE`)
		run(`INSERT INTO %[1]s OVERRIDING SYSTEM VALUE TABLE public.%[2]s`)
	}
}

// received lists the handled events of a key, in the order of their effects.
const received = `SELECT coalesce(string_agg(n::text, ' ' ORDER BY at), '') FROM store.effects WHERE n >= 0 AND key = 'order-1'`

// A subscriber's schema is restored from a backup, the publisher's is not. Nothing more is
// published. The brokers still have the events, but no commands.
func TestRestore_SubscriberReceivesEventsAgain(t *testing.T) {
	t.Parallel()
	b := fake(t)
	cfg, url := configFor(b), pgtest.URL(t)
	cfg.Session = time.Minute // each session counts what is gone
	o := openIn(t, cfg, url)
	o.publish(0, 20)
	o.effects(20)
	o.stop()
	restore := backup(t, connect(t, url), "store")
	o = openIn(t, cfg, url)
	o.publish(20, 10)
	o.effects(30)
	require.Equal(t, "1 6 11 16 21 26", o.text(received))
	emptied(t, b)
	o.stop()
	restore()
	o = openIn(t, cfg, url)
	eventually(t, "the events that the backup did not have", func() bool { return o.text(received) == "1 6 11 16 21 26" })
	eventually(t, "the count of commands that are lost", func() bool { return o.Counts().Gone == 10 })
}

// Publisher and subscriber are restored together. Messages published after the backup do not
// exist any more, though the brokers have their records. Messages published from now on have
// the same sequence numbers, and are handled.
func TestRestore_WholeDatabaseDropsSupersededRecords(t *testing.T) {
	t.Parallel()
	b := fake(t)
	cfg, url := configFor(b), pgtest.URL(t)
	o := openIn(t, cfg, url)
	o.publish(0, 20)
	o.effects(20)
	o.stop()
	restore := backup(t, connect(t, url), "store", "shop")
	o = openIn(t, cfg, url)
	o.publish(20, 10)
	o.effects(30)
	o.stop()
	restore()
	o = openIn(t, cfg, url)
	o.publish(100, 10)
	eventually(t, "the events of now", func() bool { return o.text(received) == "1 6 11 16 101 106" })
	eventually(t, "the commands of now", func() bool { return o.text(`SELECT count(*) FROM store.effects WHERE n < 0`) == "30" })
	require.Positive(t, o.Counts().Superseded)
}

// An older version works on the database for a while, and commits offsets without checkpoints;
// then this version comes back. Records that the group has received are read again.
func TestRestore_StaleCheckpointsLoseAndDuplicateNothing(t *testing.T) {
	t.Parallel()
	b := fake(t)
	cfg, url := configFor(b), pgtest.URL(t)
	db := connect(t, url)
	do := func(statement string) {
		_, err := db.ExecContext(t.Context(), statement)
		require.NoError(t, err)
	}
	o := openIn(t, cfg, url)
	o.publish(0, 20)
	o.effects(20)
	do(`CREATE TABLE public.older AS TABLE store.checkpoints`)
	o.publish(20, 10)
	o.effects(30)
	o.stop()
	for _, stale := range []string{
		`UPDATE store.checkpoints r SET "offset" = n."offset" FROM public.older n WHERE n.topic = r.topic AND n.partition = r.partition`,
		`DELETE FROM store.checkpoints`, // or there never was one
	} {
		do(stale)
		before := o.text(`SELECT count(*) FROM store.effects WHERE n >= 0`)
		o = openIn(t, cfg, url)
		n, err := strconv.Atoi(before)
		require.NoError(t, err)
		o.publish(n, 10)
		o.effects(n + 10)
		require.Equal(t, "0", o.text(`SELECT count(*) FROM store.parked_messages`))
		require.Zero(t, o.Counts().Superseded)
		o.stop()
	}
}

// An older version deleted commands for which it left no checkpoints. No session reports them
// as never received.
func TestRestore_StaleCheckpointsReportNoReceivedCommandAsLost(t *testing.T) {
	t.Parallel()
	b := fake(t)
	cfg, url := configFor(b), pgtest.URL(t)
	cfg.Session = time.Minute // each session counts what is gone
	db := connect(t, url)
	o := openIn(t, cfg, url)
	o.publish(0, 10)
	o.effects(10)
	_, err := db.ExecContext(t.Context(), `CREATE TABLE public.older AS TABLE store.checkpoints`)
	require.NoError(t, err)
	o.publish(10, 10)
	o.effects(20)
	emptied(t, b)
	o.stop()
	_, err = db.ExecContext(t.Context(), `UPDATE store.checkpoints r SET "offset" = n."offset" FROM public.older n WHERE n.topic = r.topic AND n.partition = r.partition`)
	require.NoError(t, err)
	var log bytes.Buffer
	cfg.Logger = slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelWarn}))
	for range 3 { // nothing arrives in a session, so no checkpoint moves
		o = openIn(t, cfg, url)
		eventually(t, "the deleted commands", func() bool { return o.Counts().Gone == 10 })
		o.stop()
	}
	require.Contains(t, log.String(), "records deleted at the brokers that the group received")
	require.NotContains(t, log.String(), "level=ERROR")
	o = openIn(t, cfg, url)
	o.publish(20, 5)
	o.effects(25)
	o.stop()
}
