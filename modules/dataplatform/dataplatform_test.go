package dataplatform

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"millrace/platform/bus"
	"millrace/platform/errs"
	"millrace/platform/web"
)

func TestEveryEventIsInExactlyOneFile(t *testing.T) {
	t.Parallel()
	h := setup(t, Config{FlushRows: 50, FlushEvery: 40 * time.Millisecond})
	heard := h.hear(40)
	stop := h.run(h.process())
	heard = append(heard, h.hear(180)...)
	h.untilAllIsFiled()
	stop()
	records, names := h.filed()
	same(t, heard, records)
	require.Len(t, names, h.count(`SELECT count(*) FROM file`))
}

func TestTwoProcessesWriteEachEventOnce(t *testing.T) {
	t.Parallel()
	h := setup(t, Config{FlushRows: 20, FlushEvery: 40 * time.Millisecond})
	first, second := h.process(), h.process()
	first.lease, second.lease = 300*time.Millisecond, 300*time.Millisecond // the turn changes often
	h.run(first)
	h.run(second)
	heard := h.hear(200)
	h.untilAllIsFiled()
	records, _ := h.filed()
	same(t, heard, records)
}

func TestNoFileIsBegunBeforeItIsDue(t *testing.T) {
	t.Parallel()
	h := setup(t, Config{FlushRows: 30, FlushEvery: time.Hour})
	s := h.process()
	h.hear(29)
	wrote, err := s.writeNext(t.Context())
	require.NoError(t, err)
	require.False(t, wrote, "too few, too young")
	h.hear(2)
	wrote, err = s.writeNext(t.Context())
	require.NoError(t, err)
	require.True(t, wrote)
	_, names := h.filed()
	require.Equal(t, []string{"events-000000000001-000000000030.parquet"}, names)
	_, err = h.sql.Exec(`UPDATE record SET staged_at = now() - interval '61 min' WHERE position IS NULL`)
	require.NoError(t, err)
	wrote, err = s.writeNext(t.Context())
	require.NoError(t, err)
	require.True(t, wrote, "the last one has waited long enough")
	_, names = h.filed()
	require.Equal(t, "events-000000000031-000000000031.parquet", names[1])
}

// TestAfterACrashAtAnyStepTheSameFileIsWrittenAgain leaves the work after each
// of its steps, as a kill would, and lets another process go on.
func TestAfterACrashAtAnyStepTheSameFileIsWrittenAgain(t *testing.T) {
	t.Parallel()
	for name, crash := range map[string]func(t *testing.T, s *service, f file){
		"after the range was fixed": func(*testing.T, *service, file) {},
		"while the file was written": func(t *testing.T, s *service, f file) {
			require.NoError(t, os.MkdirAll(s.cfg.Dir, 0o750))
			writeFile(t, filepath.Join(s.cfg.Dir, f.name()+".123.tmp"), "PAR1 half")
		},
		"after the file was written": func(t *testing.T, s *service, f file) {
			require.NoError(t, s.write(t.Context(), &f))
		},
		"after the file was recorded": func(t *testing.T, s *service, f file) {
			require.NoError(t, s.write(t.Context(), &f))
			require.NoError(t, s.record(t.Context(), f))
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := setup(t, Config{FlushRows: 10, FlushEvery: time.Millisecond})
			heard := h.hear(10)
			killed := h.process()
			killed.lease = 50 * time.Millisecond
			f, found, err := killed.next(t.Context())
			require.NoError(t, err)
			require.True(t, found)
			crash(t, killed, f)

			heard = append(heard, h.hear(5)...) // life goes on
			h.run(h.process())
			h.untilAllIsFiled()
			records, names := h.filed()
			same(t, heard, records)
			require.Equal(t, []string{f.name(), "events-000000000011-000000000015.parquet"}, names)
		})
	}
}

func TestAFileWrittenTwiceHasTheSameBytes(t *testing.T) {
	t.Parallel()
	h := setup(t, Config{FlushRows: 600})
	h.hear(600) // more than a page
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

func TestAProcessThatLostItsTurnRecordsNothing(t *testing.T) {
	t.Parallel()
	h := setup(t, Config{FlushRows: 10})
	h.hear(10)
	frozen := h.process()
	frozen.lease = 20 * time.Millisecond
	f, _, err := frozen.next(t.Context())
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

	require.NoError(t, frozen.write(t.Context(), &f)) // it wakes up late: the same rows under the same name
	frozen.lease = patient
	require.ErrorIs(t, frozen.record(t.Context(), f), errTurnLost)
	require.Equal(t, 1, h.count(`SELECT count(*) FROM file WHERE written_at IS NULL`))
	require.NoError(t, second.write(t.Context(), &repeated))
	require.NoError(t, second.record(t.Context(), repeated))
	h.filed()
}

func TestAFolderThatCannotBeWrittenIsWaitedFor(t *testing.T) {
	t.Parallel()
	h := setup(t, Config{FlushRows: 10, FlushEvery: 10 * time.Millisecond})
	writeFile(t, h.cfg.Dir, "a file where the folder should be")
	heard := h.hear(10)
	s := h.process()
	_, err := s.writeNext(t.Context())
	require.ErrorContains(t, err, "events-000000000001-000000000010.parquet")
	h.run(h.process())
	s.leave(t.Context())
	require.NoError(t, os.Remove(h.cfg.Dir))
	h.untilAllIsFiled()
	records, _ := h.filed()
	same(t, heard, records)
}

func TestTheSameEventTwiceIsOneRow(t *testing.T) {
	t.Parallel()
	h := setup(t, Config{})
	r := h.event("payment", 1)
	for range 2 {
		require.NoError(t, h.db.InTx(t.Context(), func(tx *bus.Tx) error { return h.m.stage(t.Context(), tx, r) }))
	}
	require.Equal(t, 1, h.count(`SELECT count(*) FROM record`))
}

func TestAPayloadThatIsNotJSONIsUndecodable(t *testing.T) {
	t.Parallel()
	for _, data := range []string{"", "{", "\xff"} {
		_, err := newRecord(bus.Received{Data: json.RawMessage(data)})
		require.Equal(t, errs.Undecodable, errs.KindOf(err), "%q", data)
	}
}

func TestFilesAndRecordsAreListed(t *testing.T) {
	t.Parallel()
	h := setup(t, Config{FlushRows: 14})
	h.hear(14)
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
