package postgres_test

import (
	"database/sql"
	"testing"

	"github.com/stretchr/testify/require"

	"millrace/platform/postgres"
	"millrace/platform/postgres/pgtest"
)

// BenchmarkStatement measures a short statement in a transaction of its own, through
// this package and through lib/pq alone.
func BenchmarkStatement(b *testing.B) {
	for name, opened := range map[string]func(url string) (*sql.DB, error){
		"prepared": func(url string) (*sql.DB, error) {
			return postgres.Open(b.Context(), postgres.Config{URL: url, Schema: "public", MaxConns: 1})
		},
		"plain": func(url string) (*sql.DB, error) { return sql.Open("postgres", url) },
	} {
		b.Run(name, func(b *testing.B) { benchmarkStatement(b, opened) })
	}
}

func benchmarkStatement(b *testing.B, opened func(url string) (*sql.DB, error)) {
	db, err := opened(pgtest.URL(b))
	require.NoError(b, err)
	defer db.Close() //nolint:errcheck // the database is dropped anyway
	_, err = db.Exec("CREATE TABLE offsets (subscriber text, topic text, partition int, committed_offset bigint, PRIMARY KEY (subscriber, topic, partition));" +
		"INSERT INTO offsets SELECT 's', 't', p, 0 FROM generate_series(0, 63) p")
	require.NoError(b, err)
	for b.Loop() {
		if _, err := db.ExecContext(b.Context(), "UPDATE offsets SET committed_offset = committed_offset + $4 WHERE subscriber = $1 AND topic = $2 AND partition = $3", "s", "t", 7, 1); err != nil {
			b.Fatal(err)
		}
	}
}
