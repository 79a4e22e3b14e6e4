package postgres_test

import (
	"database/sql"
	"testing"

	"github.com/stretchr/testify/require"

	"millrace/platform/postgres"
	"millrace/platform/postgres/pgtest"
)

// BenchmarkStatement measures one short statement in a transaction of its own,
// through this package and through lib/pq alone.
func BenchmarkStatement(b *testing.B) {
	for name, opened := range map[string]func(url string) (*sql.DB, error){
		"prepared": func(url string) (*sql.DB, error) {
			return postgres.Open(b.Context(), postgres.Config{URL: url, MaxConns: 1})
		},
		"plain": func(url string) (*sql.DB, error) { return sql.Open("postgres", url) },
	} {
		b.Run(name, func(b *testing.B) { benchmarkStatement(b, opened) })
	}
}

func benchmarkStatement(b *testing.B, opened func(url string) (*sql.DB, error)) {
	db, err := opened(pgtest.URL(b))
	require.NoError(b, err)
	defer db.Close() //nolint:errcheck // the database goes with it
	_, err = db.Exec("CREATE TABLE positions (subscriber text, topic text, partition int, position bigint, PRIMARY KEY (subscriber, topic, partition));" +
		"INSERT INTO positions SELECT 's', 't', p, 0 FROM generate_series(0, 63) p")
	require.NoError(b, err)
	for b.Loop() {
		if _, err := db.ExecContext(b.Context(), "UPDATE positions SET position = position + $4 WHERE subscriber = $1 AND topic = $2 AND partition = $3", "s", "t", 7, 1); err != nil {
			b.Fatal(err)
		}
	}
}
