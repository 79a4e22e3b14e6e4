package main

import (
	"database/sql"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"millrace/cmd/millrace/app"
	"millrace/platform/postgres"
	"millrace/platform/postgres/pgtest"
	"millrace/test/program"
)

func opened(t *testing.T, url string) *sql.DB {
	t.Helper()
	db, err := postgres.Open(t.Context(), postgres.Config{URL: url, MaxConns: 2})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, db.Close()) })
	return db
}

func execute(t *testing.T, db *sql.DB, statement string) {
	t.Helper()
	_, err := db.ExecContext(t.Context(), statement)
	require.NoError(t, err, statement)
}

// puts inserts one parked message into a module's table.
func puts(t *testing.T, db *sql.DB, module, messageType, key, state, why string) {
	t.Helper()
	execute(t, db, `INSERT INTO `+module+`.parked_messages (subscriber, topic, partition, "offset", message_id, type, key, payload, metadata, state, attempts, kind, error)
		VALUES ('`+module+`', 'payment.events', 5, 1, gen_random_uuid(), '`+messageType+`', '`+key+`', '', '{}', '`+state+`', 0, 'unknown', '`+why+`')`)
}

func TestDeadLetters_ListAndForgetUnknownType(t *testing.T) {
	t.Parallel()
	url := program.Database(t)
	environ := []string{"MILLRACE_DATABASE_URL=" + url, "MILLRACE_DATA_DIR=" + t.TempDir()}
	code, _, complaint := try(t, environ, "migrate")
	require.Zero(t, code, complaint)
	db := opened(t, url)
	execute(t, db, `INSERT INTO bus.registrations (subscriber, type) VALUES ('delivery', 'payment.blessed')`)
	puts(t, db, "delivery", "payment.blessed", "goods-17", "awaiting_version", "another version of the module has subscribed to the type, and this one does not know it")

	code, out, complaint := try(t, environ, "deadletters")
	require.Zero(t, code, complaint)
	require.Regexp(t, `ID +MESSAGE +KEY .* STATE +KIND +ERROR\ndelivery/1 +payment.blessed +goods-17 .* awaiting_version +unknown +another version of the module`, out)
	require.Contains(t, out, "  millrace deadletters forget --reason … delivery payment.blessed\n")
	require.NotContains(t, out, "Mend the cause")
	code, _, complaint = try(t, environ, "deadletters", "retry", "delivery/1")
	require.Equal(t, exitFailed, code)
	require.Contains(t, complaint, "it goes on by itself as soon as one serves")

	code, _, complaint = try(t, environ, "deadletters", "forget", "delivery", "payment.blessed")
	require.Equal(t, exitUsage, code)
	require.Contains(t, complaint, "--reason")
	code, _, complaint = try(t, environ, "deadletters", "forget", "delivery", "payment.cursed", "--reason", "a test")
	require.Equal(t, exitFailed, code)
	require.Contains(t, complaint, "no version has subscribed to it")
	code, out, complaint = try(t, environ, "deadletters", "forget", "delivery", "payment.blessed", "--reason", "a test", "--by", "kim")
	require.Zero(t, code, complaint)
	require.Contains(t, out, "No version of delivery subscribes to payment.blessed any more. Messages that waited for one and are now discarded: 1.")
	_, out, _ = try(t, environ, "deadletters")
	require.Contains(t, out, "There are no dead letters.")
}

// halves makes two databases with different modules, and the environment of an
// operator whose database.parts names both. The user's password is "canary".
func halves(t *testing.T, first, second string) (one, other *sql.DB, environ []string) {
	t.Helper()
	user := pgtest.RolePrefix(t) + "operator"
	urls := []string{pgtest.URL(t), pgtest.URL(t)}
	one, other = opened(t, urls[0]), opened(t, urls[1])
	execute(t, one, `CREATE ROLE `+user+` SUPERUSER LOGIN PASSWORD 'canary'`)
	environ = []string{"MILLRACE_TRANSPORT=kafka", "MILLRACE_KAFKA_BROKERS=127.0.0.1:9", "MILLRACE_LOG_LEVEL=warn"}
	for i, hosted := range []string{first, second} {
		code, _, complaint := try(t, append(environ, "MILLRACE_DATABASE_URL="+urls[i]), "migrate", "--modules", hosted)
		require.Zero(t, code, complaint)
		urls[i] = pgtest.As(urls[i], user, "canary")
	}
	return one, other, append(environ, "MILLRACE_DATABASE_PARTS="+strings.Join(urls, ","))
}

// allBut lists all modules except some, in the format of --modules.
func allBut(some ...string) string {
	return strings.Join(slices.DeleteFunc(app.Modules(), func(name string) bool { return slices.Contains(some, name) }), ",")
}

func TestOpenDatabases_NamesFailedOneAndReadsTheOthers(t *testing.T) {
	t.Parallel()
	one, other, environ := halves(t, "payment,delivery,inquiry", allBut("payment", "delivery", "inquiry"))
	puts(t, one, "delivery", "payment.completed", "goods-17", "dead", "broken")
	puts(t, other, "consultation", "payment.completed", "goods-18", "dead", "broken")
	execute(t, one, `INSERT INTO payment.log (partition, "offset", id, type, key, payload, metadata)
		VALUES (5, 1, gen_random_uuid(), 'payment.completed', 'goods-17', '{}', '{"ce_source":"payment","ce_time":"2026-11-01T00:00:00Z"}')`)
	_, out, complaint := try(t, environ, "deadletters")
	require.Contains(t, out, "delivery/1")
	require.Contains(t, out, "consultation/1")
	require.Empty(t, complaint)

	execute(t, other, `ALTER TABLE consultation.parked_messages RENAME COLUMN key TO was_key`)
	execute(t, other, `ALTER TABLE consultation.inbox RENAME COLUMN handled_at TO was_handled_at`)
	for _, args := range [][]string{{"deadletters"}, {"trace", "goods-17"}} {
		code, out, complaint := try(t, environ, args...)
		require.Equal(t, exitFailed, code, args)
		require.Contains(t, out, "goods-17", args)
		require.Contains(t, complaint, "item 2 of database.parts (", args)
		require.Contains(t, complaint, "was not made by this version of the program", args)
		require.NotContains(t, complaint, "item 1", args)
		require.NotContains(t, complaint, "canary", args)
	}
	code, out, complaint := try(t, environ, "trace", "goods-99")
	require.Equal(t, exitFailed, code)
	require.NotContains(t, out+complaint, "no message speaks", "who did not look does not know")
	execute(t, one, `ALTER TABLE payment.outbound_calls RENAME TO was_outbound_calls`)
	code, out, complaint = try(t, environ, "deadletters")
	require.Equal(t, exitFailed, code)
	require.Contains(t, out, "delivery/1", "its dead letters are listed although its calls cannot be read")
	require.Contains(t, complaint, "item 1 of database.parts (")
	require.Contains(t, complaint, "item 2 of database.parts (")
}

func TestLook_RefusesDecisionAboutModuleInTwoDatabases(t *testing.T) {
	t.Parallel()
	one, other, environ := halves(t, "payment,delivery", "delivery,"+allBut("payment", "delivery"))
	for _, db := range []*sql.DB{one, other} {
		puts(t, db, "delivery", "payment.completed", "goods-17", "dead", "broken")
		execute(t, db, `INSERT INTO bus.registrations (subscriber, type) VALUES ('delivery', 'payment.blessed')`)
	}
	puts(t, other, "inquiry", "consultation.changed", "5600000", "dead", "broken")
	code, out, complaint := try(t, environ, "deadletters")
	require.Zero(t, code, complaint)
	require.Equal(t, 2, strings.Count(out, "delivery/1 "), out)
	require.Regexp(t, `delivery/1 .*broken +item 1 of database.parts \(`, out)
	require.Regexp(t, `delivery/1 .*broken +item 2 of database.parts \(`, out)
	require.Regexp(t, `inquiry/1 .*broken *\n`, out)
	require.Contains(t, complaint, "a module is in two databases")
	require.Contains(t, complaint, `"module":"delivery"`)
	require.NotContains(t, complaint+out, "canary")
	for _, args := range [][]string{{"retry", "delivery/1"}, {"discard", "delivery/1"}, {"forget", "delivery", "payment.blessed"}} {
		if args[0] != "retry" {
			args = append(args, "--reason", "a test")
		}
		code, _, complaint := try(t, environ, append([]string{"deadletters"}, args...)...)
		require.Equal(t, exitFailed, code, args)
		require.Contains(t, complaint, "take the stale one out of database.parts", args)
	}
	for _, db := range []*sql.DB{one, other} {
		var states string
		require.NoError(t, db.QueryRowContext(t.Context(), `SELECT state || ' ' || (SELECT count(*) FROM bus.registrations WHERE type = 'payment.blessed') FROM delivery.parked_messages`).Scan(&states))
		require.Equal(t, "dead 1", states)
	}
	code, _, complaint = try(t, environ, "deadletters", "retry", "inquiry/1")
	require.Zero(t, code, complaint, "the other modules are not meant")
}

func TestLook_TwoUsersOfOneDatabaseAreOneDatabase(t *testing.T) {
	t.Parallel()
	one, _, environ := halves(t, "payment,delivery", allBut("payment", "delivery"))
	puts(t, one, "delivery", "payment.completed", "goods-17", "dead", "broken")
	parts := environ[len(environ)-1]
	first, _, _ := strings.Cut(strings.TrimPrefix(parts, "MILLRACE_DATABASE_PARTS="), ",")
	environ = append(environ[:len(environ)-1], parts+","+first)
	code, out, complaint := try(t, environ, "deadletters")
	require.Zero(t, code, complaint)
	require.Empty(t, complaint)
	require.Equal(t, 1, strings.Count(out, "delivery/1 "), out)
	require.NotContains(t, out, "DATABASE")
	code, _, complaint = try(t, environ, "deadletters", "retry", "delivery/1")
	require.Zero(t, code, complaint)
}
