package postgres

import (
	"time"

	"github.com/lib/pq"
)

// lib/pq is configured to read PostgreSQL's infinity and -infinity as times. By default it
// returns them as text, and one such row would make an operator's whole query fail. JSON
// can represent both times, and the zero time is between them. lib/pq also writes them,
// and all times beyond them, as infinity. The later one is after the last microsecond of
// the year 9999.
func init() { //nolint:gochecknoinits // lib/pq has one global setting
	pq.EnableInfinityTs(time.Date(0, 1, 1, 0, 0, 0, 0, time.UTC), time.Date(9999, 12, 31, 23, 59, 59, 999_999_999, time.UTC))
}
