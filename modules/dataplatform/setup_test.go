package dataplatform

import (
	"cmp"
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

// patient is the deadline for each condition that a test waits for.
const patient = time.Minute

// silent is the transport of a module that publishes nothing.
type silent struct{}

func (silent) Append(context.Context, *sql.Tx, []*message.Message) error { return nil }
func (silent) Committed([]*message.Message)                              {}

// fixture is one database and one folder that several processes share.
type fixture struct {
	t         *testing.T
	cfg       Config
	sql       *sql.DB
	db        *bus.DB
	m         *Module
	sequences map[string]int64 // last sequence per topic and partition
}

func setup(t *testing.T, cfg Config) *fixture {
	t.Helper()
	cfg.Dir = filepath.Join(t.TempDir(), "events")
	cfg.FlushRows, cfg.FlushEvery = cmp.Or(cfg.FlushRows, 10_000), cmp.Or(cfg.FlushEvery, 5*time.Second)
	db, err := postgres.Open(t.Context(), postgres.Config{URL: pgtest.URL(t), Schema: "dataplatform", Application: "dataplatform-test", MaxConns: 8})
	require.NoError(t, err)
	t.Cleanup(func() { _ = db.Close() })
	h := &fixture{t: t, cfg: cfg, sql: db, db: bus.NewDB(db, "dataplatform", nil, silent{}), sequences: map[string]int64{}}
	h.m = New(h.db, cfg)
	require.NoError(t, postgres.Migrate(t.Context(), db, "dataplatform", "dataplatform_version", h.m.Migrations()))
	return h
}

// process returns the service of another process.
func (h *fixture) process() *service { return New(h.db, h.cfg).service }

// stage stages n events of three topics, ten per transaction, and returns them.
func (h *fixture) stage(n int) (events []bus.Received) {
	h.t.Helper()
	for len(events) < n {
		require.NoError(h.t, h.db.InTx(h.t.Context(), func(tx *bus.Tx) error {
			for range min(10, n-len(events)) {
				r := h.event([]string{"payment", "delivery", "notification"}[len(events)%3], len(events)%7)
				if err := h.m.stage(h.t.Context(), tx, r); err != nil {
					return err
				}
				events = append(events, r)
			}
			return nil
		}))
	}
	return events
}

func (h *fixture) event(owner string, partition int) bus.Received {
	place := fmt.Sprintf("%s/%d", owner, partition)
	h.sequences[place]++
	return bus.Received{
		ID: uuid.Must(uuid.NewV7()), Type: owner + ".completed", Source: owner, Key: fmt.Sprintf("goods-%d", partition),
		Time: time.Now().UTC(), Schema: owner + ".completed/1", Topic: owner + ".events", Partition: partition,
		Sequence: h.sequences[place], Correlation: "talk", Data: json.RawMessage(fmt.Sprintf(`{"orderKey":"goods-%d","메모":"접수"}`, partition)),
	}
}

// count runs a query that returns one number.
func (h *fixture) count(query string) (n int) {
	h.t.Helper()
	require.NoError(h.t, h.sql.QueryRow(query).Scan(&n))
	return n
}

// readFiles reads all files back, in the order of their names.
func (h *fixture) readFiles() (records []record, names []string) {
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

// run runs flush until the test ends or stop is called.
func (h *fixture) run(s *service) (stop func()) {
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

func (h *fixture) waitUntilWritten() {
	h.t.Helper()
	require.Eventually(h.t, func() bool {
		return h.count(`SELECT (SELECT count(*) FROM record WHERE position IS NULL) + (SELECT count(*) FROM file WHERE written_at IS NULL)`) == 0
	}, patient, 10*time.Millisecond)
}

// requireSame checks that the records are the events, each once, in order
// within their topic and partition.
func requireSame(t *testing.T, events []bus.Received, records []record) {
	t.Helper()
	want := map[string]record{}
	for _, r := range events {
		rec, err := newRecord(r)
		require.NoError(t, err)
		want[rec.MessageID] = rec
	}
	last := map[string]int64{}
	for i, rec := range records {
		require.EqualValues(t, i+1, rec.Position, "positions have no gaps")
		expected, ok := want[rec.MessageID]
		require.True(t, ok, "%s is in the files once and was staged", rec.MessageID)
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
