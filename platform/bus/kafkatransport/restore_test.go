//go:build slow

package kafkatransport

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

	"millrace/platform/postgres"
	"millrace/platform/postgres/pgtest"
)

// backup copies the tables of schemas, and returns what puts them back.
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

func looker(t *testing.T, url string) *sql.DB {
	t.Helper()
	db, err := postgres.Open(t.Context(), postgres.Config{URL: url, MaxConns: 1})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, db.Close()) })
	return db
}

// Events of a key and their number among the effects, in the order of the effects.
const heard = `SELECT coalesce(string_agg(n::text, ' ' ORDER BY at), '') FROM store.effects WHERE n >= 0 AND key = 'order-1'`

// A module that hears is restored from a backup; the one that speaks is not, and
// says nothing more. The brokers still have the events.
func TestAHearingModuleThatWasRestoredHearsEverythingAgain(t *testing.T) {
	t.Parallel()
	b := fake(t)
	cfg, url := configFor(b), pgtest.URL(t)
	cfg.Session = time.Minute // each session counts what is gone
	o := openOn(t, cfg, url)
	o.say(0, 20)
	o.effects(20)
	o.stop()
	restore := backup(t, looker(t, url), "store")
	o = openOn(t, cfg, url)
	o.say(20, 10)
	o.effects(30)
	require.Equal(t, "1 6 11 16 21 26", o.text(heard))
	emptied(t, b)
	o.stop()
	restore()
	o = openOn(t, cfg, url)
	eventually(t, "the events that the backup did not have", func() bool { return o.text(heard) == "1 6 11 16 21 26" })
	eventually(t, "and the commands are told that nobody has", func() bool { return o.Counts().Gone == 10 })
}

// The database of speakers and hearers is restored as a whole. What was said
// after the backup is undone with everything else, though the brokers have it;
// what is said from now on bears its numbers, and is heard.
func TestADatabaseThatWasRestoredAsAWholeForgetsWhatWasSaidSince(t *testing.T) {
	t.Parallel()
	b := fake(t)
	cfg, url := configFor(b), pgtest.URL(t)
	o := openOn(t, cfg, url)
	o.say(0, 20)
	o.effects(20)
	o.stop()
	restore := backup(t, looker(t, url), "store", "shop")
	o = openOn(t, cfg, url)
	o.say(20, 10)
	o.effects(30)
	o.stop()
	restore()
	o = openOn(t, cfg, url)
	o.say(100, 10)
	eventually(t, "what is said now", func() bool { return o.text(heard) == "1 6 11 16 101 106" })
	eventually(t, "the commands of now", func() bool { return o.text(`SELECT count(*) FROM store.effects WHERE n < 0`) == "30" })
	require.Positive(t, o.Counts().Undone)
}

// The version before works on the database for a while, and moves its group on
// without noting that; then this one comes back. What the group received is read
// again, and costs nothing.
func TestAVersionThatDidNotNoteHowFarItReceivedLosesAndDoublesNothing(t *testing.T) {
	t.Parallel()
	b := fake(t)
	cfg, url := configFor(b), pgtest.URL(t)
	db := looker(t, url)
	do := func(statement string) {
		_, err := db.ExecContext(t.Context(), statement)
		require.NoError(t, err)
	}
	o := openOn(t, cfg, url)
	o.say(0, 20)
	o.effects(20)
	do(`CREATE TABLE public.noted AS TABLE store.checkpoints`)
	o.say(20, 10)
	o.effects(30)
	o.stop()
	for _, stale := range []string{
		`UPDATE store.checkpoints r SET "offset" = n."offset" FROM public.noted n WHERE n.topic = r.topic AND n.partition = r.partition`,
		`DELETE FROM store.checkpoints`, // or it was never there
	} {
		do(stale)
		before := o.text(`SELECT count(*) FROM store.effects WHERE n >= 0`)
		o = openOn(t, cfg, url)
		n, err := strconv.Atoi(before)
		require.NoError(t, err)
		o.say(n, 10)
		o.effects(n + 10)
		require.Equal(t, "0", o.text(`SELECT count(*) FROM store.parked_messages`))
		require.Zero(t, o.Counts().Undone)
		o.stop()
	}
}

// The version before deleted commands that it did not note. Nobody is told that
// they were never received, in whichever session it is looked at.
func TestCommandsThatAVersionReceivedWithoutNotingItAreNotSaidToBeLost(t *testing.T) {
	t.Parallel()
	b := fake(t)
	cfg, url := configFor(b), pgtest.URL(t)
	cfg.Session = time.Minute // each session counts what is gone
	db := looker(t, url)
	o := openOn(t, cfg, url)
	o.say(0, 10)
	o.effects(10)
	_, err := db.ExecContext(t.Context(), `CREATE TABLE public.noted AS TABLE store.checkpoints`)
	require.NoError(t, err)
	o.say(10, 10)
	o.effects(20)
	emptied(t, b)
	o.stop()
	_, err = db.ExecContext(t.Context(), `UPDATE store.checkpoints r SET "offset" = n."offset" FROM public.noted n WHERE n.topic = r.topic AND n.partition = r.partition`)
	require.NoError(t, err)
	var told bytes.Buffer
	cfg.Logger = slog.New(slog.NewTextHandler(&told, &slog.HandlerOptions{Level: slog.LevelWarn}))
	for range 3 { // in a session nothing arrives, so that no mark moves
		o = openOn(t, cfg, url)
		eventually(t, "the commands that are gone", func() bool { return o.Counts().Gone == 10 })
		o.stop()
	}
	require.Contains(t, told.String(), "records are gone from the brokers that the group has received")
	require.NotContains(t, told.String(), "level=ERROR")
	o = openOn(t, cfg, url)
	o.say(20, 5)
	o.effects(25)
	o.stop()
}

// A crash of the server may forget what was received last, and nothing may come
// behind it that would show it.
func TestWhatADatabaseForgotOfTheLastRecordsIsReadAgainThoughNothingFollows(t *testing.T) {
	t.Parallel()
	o := open(t, configFor(fake(t)))
	o.say(0, 20)
	o.effects(20)
	marks := `SELECT string_agg(topic || partition || ' ' || "offset", ',' ORDER BY topic, partition) FROM store.checkpoints`
	before := o.text(marks)
	o.text(`WITH forgotten AS (UPDATE store.checkpoints SET "offset" = "offset" - 1 WHERE "offset" > 0 AND topic = 'shop.events' RETURNING 1) SELECT count(*) FROM forgotten`)
	require.NotEqual(t, before, o.text(marks))
	eventually(t, "what was forgotten", func() bool { return o.text(marks) == before })
	o.effects(20)
}

// A standby that stands in for a server may have less of everything, under a
// process that lives and believes otherwise.
func TestWhatADatabaseForgotOfItsPositionsIsHandledAgainThoughNothingFollows(t *testing.T) {
	t.Parallel()
	o := open(t, configFor(fake(t)))
	o.say(0, 20)
	o.effects(20)
	o.text(`WITH a AS (DELETE FROM store.effects WHERE n >= 0), b AS (DELETE FROM store.inbox WHERE topic = 'shop.events'),
		c AS (DELETE FROM store.inbound WHERE topic = 'shop.events'), d AS (UPDATE store.offsets SET committed_offset = 0 WHERE subscriber = 'store' AND topic = 'shop.events'),
		e AS (UPDATE store.checkpoints SET "offset" = 0 WHERE topic = 'shop.events') SELECT ''`)
	o.effects(20)
}
