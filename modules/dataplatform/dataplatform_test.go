package dataplatform

import (
	"encoding/json"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"millrace/platform/bus"
	"millrace/platform/errs"
	"millrace/platform/web"
)

func TestFlush_WritesEachEventToOneFile(t *testing.T) {
	t.Parallel()
	h := setup(t, Config{FlushRows: 50, FlushEvery: 40 * time.Millisecond})
	events := h.stage(40)
	stop := h.run(h.process())
	events = append(events, h.stage(180)...)
	h.waitUntilWritten()
	stop()
	records, names := h.readFiles()
	requireSame(t, events, records)
	require.Len(t, names, h.count(`SELECT count(*) FROM file`))
}

func TestFlush_TwoProcessesWriteEachEventOnce(t *testing.T) {
	t.Parallel()
	h := setup(t, Config{FlushRows: 20, FlushEvery: 40 * time.Millisecond})
	first, second := h.process(), h.process()
	first.lease, second.lease = 300*time.Millisecond, 300*time.Millisecond // the lease moves often between the two
	h.run(first)
	h.run(second)
	events := h.stage(200)
	h.waitUntilWritten()
	records, _ := h.readFiles()
	requireSame(t, events, records)
}

func TestFlush_StartsNoFileBeforeItIsDue(t *testing.T) {
	t.Parallel()
	h := setup(t, Config{FlushRows: 30, FlushEvery: time.Hour})
	s := h.process()
	h.stage(29)
	wrote, err := s.writeNext(t.Context())
	require.NoError(t, err)
	require.False(t, wrote, "too few records, and not old enough")
	h.stage(2)
	wrote, err = s.writeNext(t.Context())
	require.NoError(t, err)
	require.True(t, wrote)
	_, names := h.readFiles()
	require.Equal(t, []string{"events-000000000001-000000000030.parquet"}, names)
	_, err = h.sql.Exec(`UPDATE record SET staged_at = now() - interval '61 min' WHERE position IS NULL`)
	require.NoError(t, err)
	wrote, err = s.writeNext(t.Context())
	require.NoError(t, err)
	require.True(t, wrote, "the last one has waited long enough")
	_, names = h.readFiles()
	require.Equal(t, "events-000000000031-000000000031.parquet", names[1])
}

// It stops a process after each step, as a kill would, and lets another process
// continue.
func TestFlush_CrashAtAnyStepRewritesSameFile(t *testing.T) {
	t.Parallel()
	for name, crash := range map[string]func(t *testing.T, s *service, f file){
		"AfterRangeWasFixed": func(*testing.T, *service, file) {},
		"WhileFileWasWritten": func(t *testing.T, s *service, f file) {
			require.NoError(t, os.MkdirAll(s.cfg.Dir, 0o750))
			writeFile(t, filepath.Join(s.cfg.Dir, f.name()+".123.tmp"), "PAR1 half")
		},
		"AfterFileWasWritten": func(t *testing.T, s *service, f file) {
			require.NoError(t, s.write(t.Context(), &f))
		},
		"AfterFileWasRecorded": func(t *testing.T, s *service, f file) {
			require.NoError(t, s.write(t.Context(), &f))
			require.NoError(t, s.record(t.Context(), f))
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := setup(t, Config{FlushRows: 10, FlushEvery: time.Millisecond})
			events := h.stage(10)
			killed := h.process()
			killed.lease = 50 * time.Millisecond
			f, found, err := killed.next(t.Context())
			require.NoError(t, err)
			require.True(t, found)
			crash(t, killed, f)

			events = append(events, h.stage(5)...) // staged while the killed process is down
			h.run(h.process())
			h.waitUntilWritten()
			records, names := h.readFiles()
			requireSame(t, events, records)
			require.Equal(t, []string{f.name(), "events-000000000011-000000000015.parquet"}, names)
		})
	}
}

func TestWrite_RepeatedWriteHasSameBytes(t *testing.T) {
	t.Parallel()
	h := setup(t, Config{FlushRows: 600})
	h.stage(600) // more than a page
	s := h.process()
	f, _, err := s.next(t.Context())
	require.NoError(t, err)
	again := f
	require.NoError(t, s.write(t.Context(), &f))
	require.NoError(t, s.write(t.Context(), &again))
	require.Equal(t, f, again)
	info, err := os.Stat(filepath.Join(h.cfg.Dir, f.name()))
	require.NoError(t, err)
	require.Equal(t, f.Bytes, info.Size())
}

func TestLease_FormerHolderRecordsNoFile(t *testing.T) {
	t.Parallel()
	h := setup(t, Config{FlushRows: 10})
	h.stage(10)
	stalled := h.process()
	stalled.lease = 20 * time.Millisecond
	f, _, err := stalled.next(t.Context())
	require.NoError(t, err)

	second := h.process()
	var repeated file
	require.Eventually(t, func() bool {
		var found bool
		repeated, found, err = second.next(t.Context())
		require.NoError(t, err)
		return found
	}, patient, 5*time.Millisecond)
	require.Equal(t, f.name(), repeated.name(), "the same file, not the next one")

	require.NoError(t, stalled.write(t.Context(), &f)) // a late write by the former lease holder: same rows, same name
	stalled.lease = patient
	require.ErrorIs(t, stalled.record(t.Context(), f), errLeaseLost)
	require.Equal(t, 1, h.count(`SELECT count(*) FROM file WHERE written_at IS NULL`))
	require.NoError(t, second.write(t.Context(), &repeated))
	require.NoError(t, second.record(t.Context(), repeated))
	h.readFiles()
}

func TestFlush_RetriesWhileFolderIsNotWritable(t *testing.T) {
	t.Parallel()
	h := setup(t, Config{FlushRows: 10, FlushEvery: 10 * time.Millisecond})
	writeFile(t, h.cfg.Dir, "a file where the folder should be")
	events := h.stage(10)
	s := h.process()
	_, err := s.writeNext(t.Context())
	require.ErrorContains(t, err, "events-000000000001-000000000010.parquet")
	h.run(h.process())
	s.release(t.Context())
	require.NoError(t, os.Remove(h.cfg.Dir))
	h.waitUntilWritten()
	records, _ := h.readFiles()
	requireSame(t, events, records)
}

func TestStage_SameEventTwiceIsOneRow(t *testing.T) {
	t.Parallel()
	h := setup(t, Config{})
	r := h.event("payment", 1)
	for range 2 {
		require.NoError(t, h.db.InTx(t.Context(), func(tx *bus.Tx) error { return h.m.stage(t.Context(), tx, r) }))
	}
	require.Equal(t, 1, h.count(`SELECT count(*) FROM record`))
}

func TestStage_PayloadThatIsNotJSONIsUndecodable(t *testing.T) {
	t.Parallel()
	for _, data := range []string{"", "{", "\xff"} {
		_, err := newRecord(bus.Received{Data: json.RawMessage(data)})
		require.Equal(t, errs.Undecodable, errs.KindOf(err), "%q", data)
	}
}

func TestHTTP_ListsFilesAndRecords(t *testing.T) {
	t.Parallel()
	h := setup(t, Config{FlushRows: 14})
	h.stage(14)
	wrote, err := h.m.service.writeNext(t.Context())
	require.NoError(t, err)
	require.True(t, wrote)
	mux := http.NewServeMux()
	h.m.Routes(web.NewAPI(mux, "test", nil))
	get := func(path string, into any) {
		answer := httptest.NewRecorder()
		mux.ServeHTTP(answer, httptest.NewRequest(http.MethodGet, path, nil))
		require.Equal(t, http.StatusOK, answer.Code, answer.Body)
		require.NoError(t, json.Unmarshal(answer.Body.Bytes(), into))
	}
	var list struct{ Files []fileView }
	get("/dataplatform/files", &list)
	var whole map[string]any
	get("/dataplatform/files", &whole)
	require.Equal(t, []string{"files"}, slices.Collect(maps.Keys(whole)), "paths appear only in the log")
	require.Len(t, list.Files, 1)
	require.Equal(t, "events-000000000001-000000000014.parquet", list.Files[0].Name)
	require.EqualValues(t, 14, list.Files[0].Rows)
	require.Len(t, list.Files[0].SHA256, 64)
	var records struct{ Records []record }
	get("/dataplatform/records?key=goods-3", &records)
	require.Len(t, records.Records, 2)
	require.Equal(t, "goods-3", records.Records[0].Key)
	require.JSONEq(t, `{"orderKey":"goods-3","메모":"접수"}`, records.Records[0].Payload)

	answer := httptest.NewRecorder()
	mux.ServeHTTP(answer, httptest.NewRequest(http.MethodGet, "/dataplatform/records", nil))
	require.Equal(t, http.StatusUnprocessableEntity, answer.Code)
	require.Contains(t, answer.Body.String(), "key")
}

func TestListRecords_PagesAreNewestFirstAndComplete(t *testing.T) {
	t.Parallel()
	h := setup(t, Config{})
	events := h.stage(45) // groups of ten have the same time
	mux := http.NewServeMux()
	h.m.Routes(web.NewAPI(mux, "test", nil))
	_, err := h.sql.ExecContext(t.Context(), `UPDATE dataplatform.record SET key = 'goods-1'`)
	require.NoError(t, err)
	seen, last := map[string]bool{}, time.Now().Add(time.Hour)
	cursor := ""
	for {
		answer := httptest.NewRecorder()
		mux.ServeHTTP(answer, httptest.NewRequest(http.MethodGet, "/dataplatform/records?key=goods-1&limit=7"+cursor, nil))
		require.Equal(t, http.StatusOK, answer.Code, answer.Body)
		var page struct {
			Records []record
			Next    string
		}
		require.NoError(t, json.Unmarshal(answer.Body.Bytes(), &page))
		for _, r := range page.Records {
			require.False(t, seen[r.MessageID])
			seen[r.MessageID] = true
			var staged time.Time
			require.NoError(t, h.sql.QueryRowContext(t.Context(), `SELECT staged_at FROM dataplatform.record WHERE message_id = $1`, r.MessageID).Scan(&staged))
			require.False(t, staged.After(last))
			last = staged
		}
		if page.Next == "" {
			break
		}
		require.Len(t, page.Records, 7)
		cursor = "&cursor=" + page.Next
	}
	require.Len(t, seen, len(events))
	answer := httptest.NewRecorder()
	mux.ServeHTTP(answer, httptest.NewRequest(http.MethodGet, "/dataplatform/records?key=goods-2"+cursor, nil))
	require.Equal(t, http.StatusUnprocessableEntity, answer.Code)
}

func TestListFiles_ContinuesAfterAPage(t *testing.T) {
	t.Parallel()
	h := setup(t, Config{})
	_, err := h.sql.ExecContext(t.Context(), `INSERT INTO dataplatform.file (first_position, last_position, written_at) SELECT n * 10 + 1, n * 10 + 10, now() FROM generate_series(0, 119) n`)
	require.NoError(t, err)
	mux := http.NewServeMux()
	h.m.Routes(web.NewAPI(mux, "test", nil))
	var firsts []int64
	route := "/dataplatform/files"
	for route != "" {
		answer := httptest.NewRecorder()
		mux.ServeHTTP(answer, httptest.NewRequest(http.MethodGet, route, nil))
		var page struct {
			Files []fileView
			Next  string
		}
		require.NoError(t, json.Unmarshal(answer.Body.Bytes(), &page))
		for _, f := range page.Files {
			firsts = append(firsts, f.First)
		}
		require.LessOrEqual(t, len(firsts), 120, "the pages end")
		if route = ""; page.Next != "" {
			route = "/dataplatform/files?cursor=" + page.Next
		}
	}
	require.Len(t, firsts, 120)
	require.IsDecreasing(t, firsts)
}
