package sqltransport

import (
	"context"
	"database/sql"
	"testing"

	"github.com/google/uuid"
	"github.com/lib/pq"
	"github.com/stretchr/testify/require"

	"millrace/platform/bus"
	"millrace/platform/bus/admin"
	"millrace/platform/postgres"
	"millrace/platform/postgres/pgtest"
)

type mute struct{ name string }

func (m mute) Name() string                    { return m.name }
func (mute) Publishes() []bus.Event            { return nil }
func (mute) Sends() []bus.Command              { return nil }
func (mute) Subscriptions() []bus.Subscription { return nil }

// shop returns a database with the log of a module called shop.
func shop(t *testing.T) *sql.DB {
	t.Helper()
	url := pgtest.URL(t)
	topo, err := bus.NewTopology(mute{"shop"})
	require.NoError(t, err)
	require.NoError(t, admin.Migrate(t.Context(), url, topo))
	db, err := postgres.Open(t.Context(), postgres.Config{URL: url, MaxConns: 2, Schema: "bus"})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, db.Close()) })
	return db
}

// say appends n messages of size bytes to partition 7 of the shop's log.
func say(t *testing.T, db *sql.DB, n, size int) {
	t.Helper()
	var partitions []int64
	var ids, texts, metadata []string
	var payloads [][]byte
	for range n {
		partitions = append(partitions, 7)
		ids = append(ids, uuid.Must(uuid.NewV7()).String())
		texts = append(texts, "x")
		payloads = append(payloads, make([]byte, size))
		metadata = append(metadata, "{}")
	}
	_, err := db.ExecContext(t.Context(), `SELECT shop.append_log($1, $2, $3, $4, $5, $6)`, pq.Array(partitions),
		pq.Array(ids), pq.Array(texts), pq.Array(texts), pq.ByteaArray(payloads), pq.Array(metadata))
	require.NoError(t, err)
}

// next reads the next messages behind position and returns their offsets.
func next(t *testing.T, r *reader, position int64, limit int) []int64 {
	t.Helper()
	rows, err := r.after(context.Background(), 7, position, limit)
	require.NoError(t, err)
	offsets := []int64{}
	for _, row := range rows {
		offsets = append(offsets, row.offset)
	}
	return offsets
}

func TestNoRowIsDroppedFromTheWindowBeforeItIsRead(t *testing.T) {
	t.Parallel()
	db := shop(t)
	r := newReader(db, "shop.events", "shop.log")
	say(t, db, 3, 10)
	require.Equal(t, []int64{1, 2}, next(t, r, 0, 2))
	// The page that follows is larger than the window may be; row 3 is still unread.
	say(t, db, 40, 200<<10)
	r.touch(7)
	require.Equal(t, []int64{3, 4, 5}, next(t, r, 2, 16)[:3])
}

func TestAPageIsBoundedInBytesAndReadUntilEmpty(t *testing.T) {
	t.Parallel()
	db := shop(t)
	r := newReader(db, "shop.events", "shop.log")
	say(t, db, 70, 100<<10)
	position := int64(0)
	for {
		got := next(t, r, position, 16)
		held := 0
		for _, row := range r.windows[7].rows {
			held += len(row.payload)
		}
		require.LessOrEqual(t, held, 2*(windowBytes+100<<10), "after %d", position)
		if len(got) == 0 {
			break
		}
		for i, offset := range got {
			require.Equal(t, position+int64(i)+1, offset)
		}
		position = got[len(got)-1]
	}
	require.EqualValues(t, 70, position)
}

// Else what was handled long ago would be most of a process's memory.
func TestWhatTheOnlySubscriberHasHandledIsNotKept(t *testing.T) {
	t.Parallel()
	db := shop(t)
	r := newReader(db, "shop.events", "shop.log")
	r.hearers = 1
	say(t, db, 3*pageRows, 10)
	position := int64(0)
	for got := next(t, r, position, 16); len(got) > 0; got = next(t, r, position, 16) {
		require.Equal(t, position+1, got[0])
		require.LessOrEqual(t, len(r.windows[7].rows), pageRows+16)
		require.Equal(t, got[0], r.windows[7].rows[0].offset, "handled, and still kept")
		position = got[len(got)-1]
	}
	require.EqualValues(t, 3*pageRows, position)
	require.Empty(t, r.windows[7].rows)
	require.Zero(t, r.windows[7].bytes)
	require.Equal(t, []int64{101, 102}, next(t, r, 100, 2), "whoever comes back reads again")
	say(t, db, 1, 10)
	r.touch(7)
	require.Equal(t, []int64{position + 1}, next(t, r, position, 16))
}

func TestFastAndSlowSubscribersOfOneReaderMissNothing(t *testing.T) {
	t.Parallel()
	db := shop(t)
	r := newReader(db, "shop.events", "shop.log")
	positions := []int64{0, 0, 0}
	steps := []int{16, 3, 1} // the second falls out of the window, the third far behind
	for range 12 {
		say(t, db, 50, 10)
		r.touch(7)
		for s, limit := range steps {
			for range 3 {
				for _, offset := range next(t, r, positions[s], limit) {
					require.Equal(t, positions[s]+1, offset, "subscriber %d", s)
					positions[s] = offset
				}
			}
		}
	}
	for s, limit := range steps {
		for got := next(t, r, positions[s], limit); len(got) > 0; got = next(t, r, positions[s], limit) {
			require.Equal(t, positions[s]+1, got[0])
			positions[s] = got[len(got)-1]
		}
		require.EqualValues(t, 600, positions[s])
	}
}

func TestARowThatIsMissingStopsThePartitionAndIsNamed(t *testing.T) {
	t.Parallel()
	db := shop(t)
	say(t, db, 5, 10)
	_, err := db.ExecContext(t.Context(), `DELETE FROM shop.log WHERE "offset" = 3`)
	require.NoError(t, err)
	for position, want := range map[int64]string{0: "row 3 is missing", 2: "row 3 is missing"} {
		_, err = newReader(db, "shop.events", "shop.log").after(t.Context(), 7, position, 16)
		require.ErrorContains(t, err, want, "after %d", position)
	}
}

// What is given is what would have been read, whatever else is read, given late,
// given twice, or not given at all.
func TestRowsThatAreGivenToAReaderArriveOnceAndInOrder(t *testing.T) {
	t.Parallel()
	db := shop(t)
	r := newReader(db, "shop.events", "shop.log")
	written := int64(0)
	write := func(n int) (rows []record) {
		say(t, db, n, 10)
		for range n {
			written++
			rows = append(rows, record{offset: written, payload: make([]byte, 10), decoded: &decodedMetadata{}})
		}
		return rows
	}
	give := func(rows []record) (taken int) {
		for _, row := range rows {
			if r.offer(7, row) {
				taken++
			}
		}
		if taken < len(rows) {
			r.touch(7)
		}
		return taken
	}
	position, reads := int64(0), 0
	read := func(limit int) {
		for got := next(t, r, position, limit); len(got) > 0; got = next(t, r, position, limit) {
			for _, offset := range got {
				require.Equal(t, position+1, offset)
				position = offset
			}
			reads++
		}
	}
	require.Zero(t, give(write(3)), "nobody has asked yet where the partition is")
	read(16)
	require.Equal(t, 5, give(write(5)))
	db.SetMaxOpenConns(1)
	held, err := db.Conn(t.Context()) // so whoever reads the table waits for ever
	require.NoError(t, err)
	read(16)
	require.EqualValues(t, 8, position)
	require.NoError(t, held.Close())
	require.Equal(t, pageRows, give(write(pageRows+50)), "no more than a page")
	read(7)
	late := write(20)
	require.Zero(t, give(late[3:]), "some are missing")
	require.Zero(t, give(late[:3:3])-3, "and now they are not")
	read(7)
	require.Equal(t, 20, give(late), "what was given again, or read, is there")
	read(7)
	require.Equal(t, written, position)
}

func TestWhatStandsBehindAHoleIsReadWhenTheHoleIsGiven(t *testing.T) {
	t.Parallel()
	db := shop(t)
	r := newReader(db, "shop.events", "shop.log")
	r.holes = true
	say(t, db, 3, 10)
	_, err := db.ExecContext(t.Context(), `CREATE TABLE shop.late AS SELECT * FROM shop.log WHERE "offset" = 2; DELETE FROM shop.log WHERE "offset" = 2`)
	require.NoError(t, err)
	require.Equal(t, []int64{1}, next(t, r, 0, 16))
	require.Empty(t, next(t, r, 1, 16))
	_, err = db.ExecContext(t.Context(), `INSERT INTO shop.log SELECT * FROM shop.late`)
	require.NoError(t, err)
	require.True(t, r.offer(7, record{offset: 2, payload: make([]byte, 10), decoded: &decodedMetadata{}}))
	require.Equal(t, int64(2), next(t, r, 1, 16)[0])
	require.Equal(t, []int64{3}, next(t, r, 2, 16))
}
