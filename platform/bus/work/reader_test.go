package work

import (
	"context"
	"database/sql"
	"testing"

	"github.com/google/uuid"
	"github.com/lib/pq"
	"github.com/stretchr/testify/require"

	"millrace/platform/bus"
	"millrace/platform/bus/admin"
	"millrace/platform/bus/store"
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

// reader reads the shop's log.
func reader(db *sql.DB) *Reader {
	return NewReader(store.NewSource(db, "shop.events", "shop.log", false), 0)
}

// publish appends n messages of size bytes to partition 7 of the shop's log.
func publish(t *testing.T, db *sql.DB, n, size int) {
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

// next reads the next messages behind offset and returns their offsets.
func next(t *testing.T, r *Reader, offset int64, limit int) []int64 {
	t.Helper()
	rows, err := r.After(context.Background(), 7, offset, limit)
	require.NoError(t, err)
	offsets := []int64{}
	for _, row := range rows {
		offsets = append(offsets, row.Offset)
	}
	return offsets
}

func TestReader_DropsNoRecordBeforeItIsRead(t *testing.T) {
	t.Parallel()
	db := shop(t)
	r := reader(db)
	publish(t, db, 3, 10)
	require.Equal(t, []int64{1, 2}, next(t, r, 0, 2))
	// The page that follows is larger than the window may be; row 3 is still unread.
	publish(t, db, 40, 200<<10)
	r.touch(7)
	require.Equal(t, []int64{3, 4, 5}, next(t, r, 2, 16)[:3])
}

func TestReader_PageIsBoundedInBytesAndReadUntilEmpty(t *testing.T) {
	t.Parallel()
	db := shop(t)
	r := reader(db)
	publish(t, db, 70, 100<<10)
	offset := int64(0)
	for {
		got := next(t, r, offset, 16)
		held := 0
		for _, row := range r.windows[7].rows {
			held += len(row.Payload)
		}
		require.LessOrEqual(t, held, 2*(windowBytes+100<<10), "after %d", offset)
		if len(got) == 0 {
			break
		}
		for i, one := range got {
			require.Equal(t, offset+int64(i)+1, one)
		}
		offset = got[len(got)-1]
	}
	require.EqualValues(t, 70, offset)
}

// Otherwise what was handled long ago would be most of a process's memory.
func TestReader_KeepsNothingThatItsOnlyGroupHasHandled(t *testing.T) {
	t.Parallel()
	db := shop(t)
	r := reader(db)
	r.wakes(newAssignment(newQueue()), "shop.events")
	publish(t, db, 3*pageRows, 10)
	offset := int64(0)
	for got := next(t, r, offset, 16); len(got) > 0; got = next(t, r, offset, 16) {
		require.Equal(t, offset+1, got[0])
		require.LessOrEqual(t, len(r.windows[7].rows), pageRows+16)
		require.Equal(t, got[0], r.windows[7].rows[0].Offset, "handled, and still kept")
		offset = got[len(got)-1]
	}
	require.EqualValues(t, 3*pageRows, offset)
	require.Empty(t, r.windows[7].rows)
	require.Zero(t, r.windows[7].bytes)
	require.Equal(t, []int64{101, 102}, next(t, r, 100, 2), "a group that comes back reads again")
	publish(t, db, 1, 10)
	r.touch(7)
	require.Equal(t, []int64{offset + 1}, next(t, r, offset, 16))
}

func TestReader_FastAndSlowGroupsMissNothing(t *testing.T) {
	t.Parallel()
	db := shop(t)
	r := reader(db)
	offsets := []int64{0, 0, 0}
	steps := []int{16, 3, 1} // the second falls out of the window, the third far behind
	for range 12 {
		publish(t, db, 50, 10)
		r.touch(7)
		for s, limit := range steps {
			for range 3 {
				for _, offset := range next(t, r, offsets[s], limit) {
					require.Equal(t, offsets[s]+1, offset, "subscriber %d", s)
					offsets[s] = offset
				}
			}
		}
	}
	for s, limit := range steps {
		for got := next(t, r, offsets[s], limit); len(got) > 0; got = next(t, r, offsets[s], limit) {
			require.Equal(t, offsets[s]+1, got[0])
			offsets[s] = got[len(got)-1]
		}
		require.EqualValues(t, 600, offsets[s])
	}
}

func TestReader_MissingRecordStopsThePartitionAndIsNamed(t *testing.T) {
	t.Parallel()
	db := shop(t)
	publish(t, db, 5, 10)
	_, err := db.ExecContext(t.Context(), `DELETE FROM shop.log WHERE "offset" = 3`)
	require.NoError(t, err)
	for offset, want := range map[int64]string{0: "row 3 is missing", 2: "row 3 is missing"} {
		_, err = reader(db).After(t.Context(), 7, offset, 16)
		require.ErrorContains(t, err, want, "after %d", offset)
	}
}

// Offered records are those that would have been read, whatever else is read, offered late,
// offered twice, or not offered at all.
func TestReader_OfferedRecordsArriveOnceAndInOrder(t *testing.T) {
	t.Parallel()
	db := shop(t)
	r := reader(db)
	written := int64(0)
	write := func(n int) (rows []store.Record) {
		publish(t, db, n, 10)
		for range n {
			written++
			rows = append(rows, store.Record{Offset: written, Payload: make([]byte, 10)}.Fresh())
		}
		return rows
	}
	give := func(rows []store.Record) (taken int) {
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
	offset, reads := int64(0), 0
	read := func(limit int) {
		for got := next(t, r, offset, limit); len(got) > 0; got = next(t, r, offset, limit) {
			for _, one := range got {
				require.Equal(t, offset+1, one)
				offset = one
			}
			reads++
		}
	}
	require.Zero(t, give(write(3)), "nobody has asked yet where the partition is")
	read(16)
	require.Equal(t, 5, give(write(5)))
	db.SetMaxOpenConns(1)
	held, err := db.Conn(t.Context()) // so a read of the table never returns
	require.NoError(t, err)
	read(16)
	require.EqualValues(t, 8, offset)
	require.NoError(t, held.Close())
	require.Equal(t, pageRows, give(write(pageRows+50)), "no more than a page")
	read(7)
	late := write(20)
	require.Zero(t, give(late[3:]), "some are missing")
	require.Zero(t, give(late[:3:3])-3, "and now they are not")
	read(7)
	require.Equal(t, 20, give(late), "what was given again, or read, is there")
	read(7)
	require.Equal(t, written, offset)
}

func TestReader_ReadsWhatFollowsAGapWhenItIsFilled(t *testing.T) {
	t.Parallel()
	db := shop(t)
	r := NewReader(store.NewSource(db, "shop.events", "shop.log", true), 0)
	publish(t, db, 3, 10)
	_, err := db.ExecContext(t.Context(), `CREATE TABLE shop.late AS SELECT * FROM shop.log WHERE "offset" = 2; DELETE FROM shop.log WHERE "offset" = 2`)
	require.NoError(t, err)
	require.Equal(t, []int64{1}, next(t, r, 0, 16))
	require.Empty(t, next(t, r, 1, 16))
	_, err = db.ExecContext(t.Context(), `INSERT INTO shop.log SELECT * FROM shop.late`)
	require.NoError(t, err)
	require.True(t, r.offer(7, store.Record{Offset: 2, Payload: make([]byte, 10)}.Fresh()))
	require.Equal(t, int64(2), next(t, r, 1, 16)[0])
	require.Equal(t, []int64{3}, next(t, r, 2, 16))
}
