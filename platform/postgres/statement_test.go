package postgres

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestEndsTransaction_SplitsStatementsLikePostgreSQL(t *testing.T) {
	t.Parallel()
	for _, text := range []string{
		"COMMIT", " commit; ", "ROLLBACK", "rollback and chain", "END", "ABORT", "PREPARE TRANSACTION 'x'",
		"/* now */ -- really\n COMMIT", "/* a /* nested */ one */ COMMIT", "--\nCOMMIT", ";COMMIT", ";;\n ; end", "SELECT 1; COMMIT",
		"SELECT 1;COMMIT;SELECT 2", "SELECT ';'; COMMIT", "SELECT E'\\'; SELECT 1'; COMMIT", "SELECT $$ ; $$; COMMIT", "SELECT $a$ $b$ $a$; commit",
		"SELECT '\\'; COMMIT; --'", "SELECT 1 /* ; */; COMMIT", "SELECT \"a;\"; ABORT", "COMMIT AND CHAIN", "COMMIT/**/", "rollback work",
		"CREATE FUNCTION f() RETURNS int BEGIN ATOMIC SELECT CASE WHEN true THEN 1 END; SELECT 2; END; COMMIT", "SELECT CASE 1 WHEN 1 THEN 2 END; END",
	} {
		require.True(t, EndsTransaction(text), text)
	}
	for _, text := range []string{
		"", ";", "SAVEPOINT s", "ROLLBACK TO s", "ROLLBACK WORK TO SAVEPOINT s", "PREPARE p AS SELECT 1", "CREATE TABLE ended (x int)", "EXPLAIN SELECT 1",
		"DO $$ BEGIN PERFORM 1; END $$", "DO $do$ BEGIN PERFORM $$;$$; END; $do$", "SELECT 'x'; SELECT '; commit'", "SELECT '; commit'",
		"SELECT 'it''s; commit'", "SELECT E'\\'; commit'", "SELECT \"; commit\" FROM t", "SELECT 1 -- ; commit", "SELECT 1 -- x\n; SELECT 2",
		"SELECT 1 /* ; commit */", "SELECT 1; /* /* */ ; commit */ SELECT 2", "SELECT a$b$; SELECT 1", "SELECT $1; SELECT $2", `"commit"`,
		"CREATE FUNCTION f() RETURNS int BEGIN ATOMIC SELECT CASE WHEN true THEN 1 END; SELECT 2; END", "SELECT $$ unfinished ; commit",
		"CREATE OR REPLACE PROCEDURE p() LANGUAGE sql BEGIN ATOMIC INSERT INTO t VALUES (1); END;", "SELECT CASE WHEN true THEN 1 END", "EXECUTE p; EXECUTE q",
	} {
		require.False(t, EndsTransaction(text), text)
	}
}
