package dataplatform

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/google/uuid"
	"github.com/parquet-go/parquet-go"
	"github.com/stretchr/testify/require"

	"millrace/platform/bus"
	"millrace/platform/postgres"
	"millrace/platform/postgres/pgtest"
)

// patient is how long a test waits for what must happen.
const patient = time.Minute

// silent is the transport of a module that says nothing.
type silent struct{}

func (silent) Append(context.Context, *sql.Tx, []*message.Message) error { return nil }
func (silent) Committed([]*message.Message)                              {}

// house is one database and one folder, on which several processes can work.
type house struct {
	t    *testing.T
	cfg  Config
	sql  *sql.DB
	db   *bus.DB
	m    *Module
	said map[string]int64 // sequence per topic and partition
}

func setup(t *testing.T, cfg Config) *house {
	t.Helper()
	cfg.Dir = filepath.Join(t.TempDir(), "events")
	db, err := postgres.Open(t.Context(), postgres.Config{URL: pgtest.URL(t), Schema: "dataplatform", Application: "dataplatform-test", MaxConns: 8})
	require.NoError(t, err)
	t.Cleanup(func() { _ = db.Close() })
	h := &house{t: t, cfg: cfg, sql: db, db: bus.NewDB(db, "dataplatform", nil, silent{}), said: map[string]int64{}}
	h.m = New(h.db, cfg)
	require.NoError(t, postgres.Migrate(t.Context(), db, "dataplatform", "dataplatform_version", h.m.Migrations()))
	return h
}

// process is a further process of the product.
func (h *house) process() *service { return New(h.db, h.cfg).service }

// hear stages n events, one transaction each ten, over three topics.
func (h *house) hear(n int) (heard []bus.Received) {
	h.t.Helper()
	for len(heard) < n {
		require.NoError(h.t, h.db.InTx(h.t.Context(), func(tx *bus.Tx) error {
			for range min(10, n-len(heard)) {
				r := h.event([]string{"payment", "delivery", "notification"}[len(heard)%3], len(heard)%7)
				if err := h.m.stage(h.t.Context(), tx, r); err != nil {
					return err
				}
				heard = append(heard, r)
			}
			return nil
		}))
	}
	return heard
}

func (h *house) event(owner string, partition int) bus.Received {
	place := fmt.Sprintf("%s/%d", owner, partition)
	h.said[place]++
	return bus.Received{
		ID: uuid.Must(uuid.NewV7()), Type: owner + ".completed", Source: owner, Key: fmt.Sprintf("goods-%d", partition),
		Time: time.Now().UTC(), Schema: owner + ".completed/1", Topic: owner + ".events", Partition: partition,
		Sequence: h.said[place], Correlation: "talk", Data: json.RawMessage(fmt.Sprintf(`{"orderKey":"goods-%d","메모":"접수"}`, partition)),
	}
}

// count reads one number.
func (h *house) count(query string) (n int) {
	h.t.Helper()
	require.NoError(h.t, h.sql.QueryRow(query).Scan(&n))
	return n
}

// filed reads all files back, in the order of their names.
func (h *house) filed() (records []record, names []string) {
	h.t.Helper()
	paths, err := filepath.Glob(filepath.Join(h.cfg.Dir, "*"))
	require.NoError(h.t, err)
	for _, path := range paths {
		require.Equal(h.t, ".parquet", filepath.Ext(path), "nothing else is left in the folder")
		rows, err := parquet.ReadFile[record](path)
		require.NoError(h.t, err)
		first, last := int64(0), int64(0)
		_, err = fmt.Sscanf(filepath.Base(path), "events-%d-%d.parquet", &first, &last)
		require.NoError(h.t, err)
		require.Equal(h.t, first, rows[0].Position)
		require.Equal(h.t, last, rows[len(rows)-1].Position)
		records = append(records, rows...)
		names = append(names, filepath.Base(path))
	}
	return records, names
}

// run runs the flusher until the test ends or stop is called.
func (h *house) run(s *service) (stop func()) {
	h.t.Helper()
	ctx, cancel := context.WithCancel(context.WithoutCancel(h.t.Context()))
	ended := make(chan error, 1)
	go func() { ended <- s.flush(ctx) }()
	stopped := false
	stop = func() {
		if stopped {
			return
		}
		stopped = true
		cancel()
		select {
		case err := <-ended:
			require.NoError(h.t, err)
		case <-time.After(patient):
			require.FailNow(h.t, "the flusher did not end")
		}
	}
	h.t.Cleanup(stop)
	return stop
}

func (h *house) untilAllIsFiled() {
	h.t.Helper()
	require.Eventually(h.t, func() bool {
		return h.count(`SELECT (SELECT count(*) FROM record WHERE position IS NULL) + (SELECT count(*) FROM file WHERE written_at IS NULL)`) == 0
	}, patient, 10*time.Millisecond)
}

// same checks that the records are the events, each once, and in their order
// per topic and partition.
func same(t *testing.T, heard []bus.Received, records []record) {
	t.Helper()
	want := map[string]record{}
	for _, r := range heard {
		rec, err := newRecord(r)
		require.NoError(t, err)
		want[rec.MessageID] = rec
	}
	last := map[string]int64{}
	for i, rec := range records {
		require.EqualValues(t, i+1, rec.Position, "positions have no gaps")
		expected, ok := want[rec.MessageID]
		require.True(t, ok, "%s is there once and was heard", rec.MessageID)
		delete(want, rec.MessageID)
		expected.Position = rec.Position
		require.Equal(t, expected, rec)
		place := fmt.Sprintf("%s/%d", rec.Topic, rec.Partition)
		require.Greater(t, rec.Sequence, last[place], "in order within %s", place)
		last[place] = rec.Sequence
	}
	require.Empty(t, want, "every event is in a file")
}

func writeFile(t *testing.T, name, text string) {
	t.Helper()
	require.NoError(t, os.WriteFile(name, []byte(text), 0o600))
}
