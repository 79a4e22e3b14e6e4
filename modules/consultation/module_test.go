package consultation_test

import (
	"encoding/json"
	"fmt"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"millrace/modules/consultation"
	"millrace/modules/consultation/consultationapi"
	"millrace/platform/bus"
	"millrace/platform/bus/bustest"
)

func start(t *testing.T) *bustest.Harness {
	t.Helper()
	t.Parallel()
	return bustest.Start(t, func(db *bus.DB) bustest.Module { return consultation.New(db) })
}

// shape has the fields of a consultation or a move that the tests read.
type shape struct {
	ConsultationID int64
	Status         consultationapi.Status
	CustomerStatus consultationapi.CustomerStatus
	Memo           string
	Position       int64
	Deposits       []struct{ State string }
	History        []struct {
		Position   int64
		Transition consultationapi.Transition
		Actor      consultationapi.Actor
		From, To   consultationapi.Status
	}
}

func decode(t *testing.T, body []byte) (s shape) {
	t.Helper()
	require.NoError(t, json.Unmarshal(body, &s), "%s", body)
	return s
}

// book creates a consultation and returns its id. It consumes the event.
func book(t *testing.T, h *bustest.Harness) int64 {
	t.Helper()
	made := decode(t, h.Given(`POST /consultations`, `{"hospitalId":4848,"memberId":90210}`).Body.Bytes())
	h.Then(consultationapi.Created{ConsultationID: made.ConsultationID, MemberID: 90210, StateTransition: "CONSULTATION_RECEIVED", StateTransitionActor: "MEMBER"})
	return made.ConsultationID
}

func moves(id int64) string { return fmt.Sprintf("POST /consultations/%d/moves", id) }
func one(id int64) string   { return fmt.Sprintf("GET /consultations/%d", id) }

func get(t *testing.T, h *bustest.Harness, id int64) shape {
	t.Helper()
	return decode(t, h.Given(one(id), "").Body.Bytes())
}

func TestCreate_BookingHasTransitionWithoutPreviousState(t *testing.T) {
	h := start(t)
	made := decode(t, h.Given(`POST /consultations`, `{"hospitalId":4848,"memberId":90210,"reservationAt":"2026-12-01T10:00:00+09:00","memo":"first visit"}`).Body.Bytes())
	require.GreaterOrEqual(t, made.ConsultationID, int64(5600000))
	require.Equal(t, consultationapi.Received, made.Status)
	require.Equal(t, consultationapi.CustomerReceived, made.CustomerStatus)
	require.Len(t, made.History, 1)
	h.Then(consultationapi.Created{
		ConsultationID: made.ConsultationID, HospitalID: 4848, MemberID: 90210, StateTransition: "CONSULTATION_RECEIVED", StateTransitionActor: "MEMBER",
	})
	h.ThenNothing()
	h.ThenRow(`SELECT transition, actor, coalesce(from_status, 'none'), to_status FROM history`, "CONSULTATION_RECEIVED", "MEMBER", "none", "RECEIVED")
	h.ThenRow(`SELECT count(*) FROM log WHERE convert_from(payload, 'UTF8')::jsonb ? 'prevState'`, 0)
}

func TestCreate_ByHospitalHasNoTransition(t *testing.T) {
	h := start(t)
	made := decode(t, h.Given(`POST /consultations`, `{"hospitalId":4848,"memberId":90210,"openedBy":"HOSPITAL"}`).Body.Bytes())
	require.Equal(t, consultationapi.Received, made.Status)
	require.Empty(t, made.History, "it was not moved")
	h.Then(consultationapi.Created{ConsultationID: made.ConsultationID, HospitalID: 4848, MemberID: 90210})
	h.ThenRow(`SELECT count(*) FROM log WHERE convert_from(payload, 'UTF8')::jsonb ?| '{stateTransition,stateTransitionActor,prevState}'`, 0)

	h.Given(moves(made.ConsultationID), `{"to":"CONTACTING","actor":"HOSPITAL"}`)
	h.Then(consultationapi.Changed{
		ConsultationID: made.ConsultationID, StateTransition: "CONSULTATION_CONTACTING", StateTransitionActor: "HOSPITAL", PrevState: "RECEIVED",
	})
}

func TestChange_EventHasNoTransitionAndNoPersonalData(t *testing.T) {
	h := start(t)
	id := book(t, h)
	patch := fmt.Sprintf("PATCH /consultations/%d", id)
	require.Equal(t, "canary-memo", decode(t, h.Given(patch, `{"memo":"canary-memo","visitorName":"canary-name","phone":"canary-phone"}`).Body.Bytes()).Memo)
	h.Then(consultationapi.Changed{ConsultationID: id, HospitalID: 4848})
	h.ThenRow(`SELECT count(*) FROM log WHERE convert_from(payload, 'UTF8') LIKE '%canary%' OR metadata::text LIKE '%canary%'`, 0)
	h.ThenRow(`SELECT count(*) FROM log WHERE type = 'consultation.changed' AND convert_from(payload, 'UTF8')::jsonb ?| '{stateTransition,stateTransitionActor,prevState}'`, 0)
	h.ThenRow(`SELECT count(*) FROM history`, 1)

	h.Given(patch, `{"memo":"canary-memo"}`)
	h.ThenNothing() // the memo is unchanged
	require.Equal(t, 422, h.Do(patch, `{}`).Code)
	require.Equal(t, 422, h.Do(patch, `{"status":"FIXED"}`).Code, "the status is changed by a move")
}

// tour returns a path that contains every pair of statuses as consecutive elements
// exactly once. A pair of equal statuses stands for a new time.
func tour() []consultationapi.Status {
	var path []consultationapi.Status
	used := map[[2]consultationapi.Status]bool{}
	var visit func(consultationapi.Status)
	visit = func(from consultationapi.Status) {
		for _, to := range consultationapi.Statuses() {
			if pair := [2]consultationapi.Status{from, to}; !used[pair] {
				used[pair] = true
				visit(to)
			}
		}
		path = append(path, from)
	}
	visit(consultationapi.Received)
	slices.Reverse(path)
	return path
}

func joined(statuses []consultationapi.Status) string {
	var all []string
	for _, s := range statuses {
		all = append(all, string(s))
	}
	return strings.Join(all, ",")
}

func TestMove_EveryMoveHasEventAndHistoryWithPreviousState(t *testing.T) {
	h := start(t)
	path := tour()
	require.Len(t, path, 13*13+1)
	for _, actor := range consultationapi.Actors() {
		id := book(t, h)
		var published []any
		visited := []consultationapi.Status{path[0]}
		step := func(i int, to consultationapi.Status) {
			from, transition, body := visited[len(visited)-1], consultationapi.To(to), fmt.Sprintf(`{"to":%q,"actor":%q}`, to, actor)
			if from == to {
				transition, body = consultationapi.ReservationChanged, fmt.Sprintf(`{"reservationAt":"2026-12-01T10:%02d:00Z","actor":%q}`, i%60, actor)
			}
			h.Given(moves(id), body)
			visited = append(visited, to)
			published = append(published, consultationapi.Changed{
				ConsultationID: id, HospitalID: 4848, StateTransition: transition, StateTransitionActor: actor, PrevState: from,
			})
		}
		for i, to := range path[1:] {
			from := path[i]
			if from.Customer() == consultationapi.CustomerCancelled && to == consultationapi.Fixed {
				require.Equal(t, 409, h.Do(moves(id), fmt.Sprintf(`{"to":%q,"actor":%q}`, to, actor)).Code)
				step(i, consultationapi.Received) // re-open it first
			}
			if from.Customer() == consultationapi.CustomerCancelled && to == from {
				require.Equal(t, 409, h.Do(moves(id), fmt.Sprintf(`{"reservationAt":"2026-12-01T10:00:00Z","actor":%q}`, actor)).Code)
				continue
			}
			step(i, to)
		}
		h.Then(published...)
		seen := get(t, h, id)
		require.Equal(t, path[len(path)-1], seen.Status)
		require.Len(t, seen.History, 100, "the newest moves")
		h.ThenRow(fmt.Sprintf(`SELECT count(*), string_agg(to_status, ',' ORDER BY position) FROM history WHERE consultation_id = %d`, id), len(visited), joined(visited))
		for i, shown := range seen.History {
			position := len(visited) - len(seen.History) + i
			require.EqualValues(t, position+1, shown.Position)
			require.Equal(t, visited[position], shown.To)
			require.Equal(t, visited[position-1], shown.From)
			require.Equal(t, actor, shown.Actor)
		}
	}
	h.ThenNothing()
}

func TestMove_ToCurrentStatusOrTimeIsConflict(t *testing.T) {
	h := start(t)
	id := book(t, h)
	require.Equal(t, 409, h.Do(moves(id), `{"to":"RECEIVED","actor":"HOSPITAL"}`).Code)
	h.Given(moves(id), `{"reservationAt":"2026-12-01T10:00:00+09:00","actor":"MEMBER"}`)
	h.Then(consultationapi.Changed{ConsultationID: id, StateTransition: "RESERVATION_CHANGED", StateTransitionActor: "MEMBER", PrevState: "RECEIVED"})
	require.Equal(t, 409, h.Do(moves(id), `{"reservationAt":"2026-12-01T01:00:00Z","actor":"HOSPITAL"}`).Code, "the same instant")
	h.ThenNothing()
}

func TestConsultation_InvalidRequestNamesFieldAndChangesNothing(t *testing.T) {
	h := start(t)
	id := book(t, h)
	for body, field := range map[string]string{
		`{"actor":"MEMBER"}`:                "body.to",
		`{"to":"FIXED"}`:                    "body.actor",
		`{"to":"NOWHERE","actor":"MEMBER"}`: "body.to",
		`{"to":"FIXED","actor":"ROBOT"}`:    "body.actor",
		`{"to":"FIXED","actor":"MEMBER","reservationAt":"2026-12-01T10:00:00Z"}`: "body.reservationAt",
		`{"actor":"MEMBER","reservationAt":"tomorrow"}`:                          "body.reservationAt",
	} {
		answer := h.Do(moves(id), body)
		require.Equal(t, 422, answer.Code, body)
		require.Contains(t, answer.Body.String(), `"location":"`+field+`"`, body)
	}
	require.Equal(t, 422, h.Do(`POST /consultations`, `{"hospitalId":0,"memberId":1}`).Code)
	require.Contains(t, h.Do(`POST /consultations`, `{"hospitalId":1,"memberId":821012345678}`).Body.String(), `"body.memberId"`)
	require.Equal(t, 422, h.Do(`POST /consultations`, `{"hospitalId":1,"memberId":1,"memo":"`+strings.Repeat("가", 2001)+`"}`).Code)
	for body, field := range map[string]string{
		`{"visitorName":"김\u202e민"}`: "visitorName", `{"phone":"010\u200b1234"}`: "phone", `{"memo":"\u200b"}`: "memo", `{"visitorName":"a\nb"}`: "visitorName",
		`{"VISITORNAME":"x"}`: "VISITORNAME", `{"memo":"a","memo":"b"}`: "memo", `{"memo":null}`: "memo", `{"visitorName":"Z` + strings.Repeat(`\u0335`, 30) + `"}`: "visitorName",
	} {
		answer := h.Do(fmt.Sprintf("PATCH /consultations/%d", id), body)
		require.Equal(t, 422, answer.Code, body)
		require.Contains(t, answer.Body.String(), `"location":"body.`+field+`"`, body)
	}
	require.Equal(t, 404, h.Do(`POST /consultations/1/moves`, `{"to":"FIXED","actor":"MEMBER"}`).Code)
	require.Equal(t, 404, h.Do(`PATCH /consultations/1`, `{"memo":"x"}`).Code)
	require.Equal(t, 404, h.Do(`GET /consultations/1`, ``).Code)
	h.ThenNothing()
	h.ThenRow(`SELECT count(*), sum(moves) FROM consultation`, 1, 1)
}

// PostgreSQL formats the year 0 as "0001 BC", and years after 9999 with five
// digits. Such a time could be stored but not returned as RFC 3339.
func TestReservationTime_MustHaveRFC3339Year(t *testing.T) {
	h := start(t)
	id := book(t, h)
	for _, at := range []string{"0000-01-01T00:00:00Z", "0001-01-01T00:00:00Z", "1900-01-01T00:00:00+00:01", "9999-12-31T23:59:59-00:01"} {
		for _, answer := range []*httptest.ResponseRecorder{
			h.Do(moves(id), `{"actor":"MEMBER","reservationAt":"`+at+`"}`),
			h.Do(`POST /consultations`, `{"hospitalId":4848,"memberId":90210,"reservationAt":"`+at+`"}`),
		} {
			require.Equal(t, 422, answer.Code, "%s: %s", at, answer.Body)
			require.Contains(t, answer.Body.String(), `"location":"body.reservationAt"`)
		}
	}
	h.ThenNothing()
	for _, at := range []string{"1900-01-01T00:00:00Z", "9999-12-31T23:59:59Z"} {
		h.Given(moves(id), `{"actor":"MEMBER","reservationAt":"`+at+`"}`)
		require.Contains(t, h.Given(one(id), "").Body.String(), `"reservationAt":"`+at+`"`)
	}
	h.ThenRow(`SELECT count(*) FROM pg_constraint WHERE contype = 'c' AND pg_get_constraintdef(oid) LIKE '%reservation_at < %'
		AND connamespace = current_schema()::regnamespace`, 2)
}

func TestIdempotencyKey_RepeatedRequestHasNoSecondEffect(t *testing.T) {
	h := start(t)
	const body = `{"hospitalId":4848,"memberId":90210,"memo":"once"}`
	first := h.Do(`POST /consultations`, body, "Idempotency-Key: create-1")
	again := h.Do(`POST /consultations`, body, "Idempotency-Key: create-1")
	require.Equal(t, 201, first.Code)
	require.Equal(t, 201, again.Code)
	require.Equal(t, first.Body.String(), again.Body.String())
	long := strings.Repeat("k", 129)
	require.Equal(t, 422, h.Do(`POST /consultations`, body, "Idempotency-Key: "+long).Code)
	require.Equal(t, 422, h.Do(`POST /consultations/1/moves`, `{"to":"FIXED","actor":"MEMBER"}`, "Idempotency-Key: "+long).Code)
	id := decode(t, first.Body.Bytes()).ConsultationID
	h.Then(consultationapi.Created{ConsultationID: id})

	fix := `{"to":"FIXED","actor":"HOSPITAL"}`
	moved := h.Do(moves(id), fix, "Idempotency-Key: move-1")
	h.Given(moves(id), `{"to":"VISITED","actor":"HOSPITAL"}`)
	repeated := h.Do(moves(id), fix, "Idempotency-Key: move-1")
	require.Equal(t, 201, repeated.Code)
	require.Equal(t, moved.Body.String(), repeated.Body.String(), "the first response, although it moved since")
	require.Equal(t, consultationapi.Visited, get(t, h, id).Status)
	h.Then(
		consultationapi.Changed{ConsultationID: id, StateTransition: "CONSULTATION_FIXED", PrevState: "RECEIVED"},
		consultationapi.Changed{ConsultationID: id, StateTransition: "CONSULTATION_VISITED", PrevState: "FIXED"},
	)
	again = h.Do(`POST /consultations`, body, "Idempotency-Key: create-1")
	require.Equal(t, first.Body.String(), again.Body.String(), "the first response, with the original status")
	refused := h.Do(moves(id), `{"to":"CLOSED","actor":"HOSPITAL"}`, "Idempotency-Key: move-1")
	require.Equal(t, 422, refused.Code)
	require.Contains(t, refused.Body.String(), "header.Idempotency-Key")
	// A refused request does not use up its key.
	require.Equal(t, 409, h.Do(moves(id), `{"to":"VISITED","actor":"HOSPITAL"}`, "Idempotency-Key: move-2").Code)
	require.Equal(t, 201, h.Do(moves(id), `{"to":"TREATED","actor":"HOSPITAL"}`, "Idempotency-Key: move-2").Code)
	h.Then(consultationapi.Changed{ConsultationID: id, StateTransition: "CONSULTATION_TREATED", PrevState: "VISITED"})
	h.ThenNothing()
}

func TestIdempotencyKey_BelongsToOneOperationOfOnePrincipal(t *testing.T) {
	h := start(t)
	const booking, key = `{"hospitalId":4848,"memberId":%d,"openedBy":%q}`, "Idempotency-Key: k"
	seen := map[int64]bool{}
	for _, by := range []string{fmt.Sprintf(booking, 90210, "MEMBER"), fmt.Sprintf(booking, 90211, "MEMBER"), fmt.Sprintf(booking, 90210, "HOSPITAL")} {
		made := h.Do(`POST /consultations`, by, key)
		require.Equal(t, 201, made.Code, made.Body)
		require.Equal(t, made.Body.String(), h.Do(`POST /consultations`, by, key).Body.String())
		seen[decode(t, made.Body.Bytes()).ConsultationID] = true
	}
	require.Len(t, seen, 3)
	for id := range seen {
		for _, actor := range []string{"HOSPITAL", "MEMBER"} {
			to := map[string]string{"HOSPITAL": "FIXED", "MEMBER": "CANCELED"}[actor]
			require.Equal(t, 201, h.Do(moves(id), fmt.Sprintf(`{"to":%q,"actor":%q}`, to, actor), key).Code)
		}
	}
}

func TestIdempotencyKey_ConcurrentCopiesHaveOneEffect(t *testing.T) {
	h := start(t)
	answers := make([]string, 8)
	together(len(answers), func(i int) {
		answers[i] = h.Do(`POST /consultations`, `{"hospitalId":4848,"memberId":90210}`, "Idempotency-Key: k").Body.String()
	})
	id := decode(t, []byte(answers[0])).ConsultationID
	for _, answer := range answers {
		require.Equal(t, id, decode(t, []byte(answer)).ConsultationID)
	}
	h.Then(consultationapi.Created{ConsultationID: id})
	together(len(answers), func(i int) {
		answers[i] = h.Do(moves(id), `{"to":"FIXED","actor":"HOSPITAL"}`, "Idempotency-Key: m").Body.String()
	})
	for _, answer := range answers {
		require.EqualValues(t, 2, decode(t, []byte(answer)).Position, answer)
	}
	h.Then(consultationapi.Changed{ConsultationID: id, StateTransition: "CONSULTATION_FIXED"})
	h.ThenNothing()
}

// Without the lock, a concurrent change of the memo would overwrite the status, and
// the next prevState would be wrong.
func TestMove_ConcurrentMovesHaveOneOrderInHistoryAndEvents(t *testing.T) {
	h := start(t)
	id := book(t, h)
	statuses := consultationapi.Statuses()
	together(8, func(worker int) {
		for i := range 12 {
			to := statuses[(worker*5+i*7)%len(statuses)]
			code := h.Do(moves(id), fmt.Sprintf(`{"to":%q,"actor":"HOSPITAL"}`, to)).Code
			if code != 201 && code != 409 {
				t.Errorf("move to %s: %d", to, code)
			}
			if code := h.Do(fmt.Sprintf("PATCH /consultations/%d", id), fmt.Sprintf(`{"memo":"%d.%d"}`, worker, i)).Code; code != 200 {
				t.Errorf("change the memo: %d", code)
			}
		}
	})
	h.ThenRow(`SELECT count(*) > 10, max(position) = count(*), bool_and(before IS NOT DISTINCT FROM from_status), bool_and(at >= earlier)
		FROM (SELECT *, lag(to_status) OVER w AS before, lag(at, 1, at) OVER w AS earlier FROM history WINDOW w AS (ORDER BY position)) h`,
		true, true, true, true)
	h.ThenRow(`SELECT bool_and(e->>'stateTransition' = h.transition AND e->>'prevState' IS NOT DISTINCT FROM h.from_status), count(*) = (SELECT moves FROM consultation)
		FROM (SELECT convert_from(payload, 'UTF8')::jsonb AS e, row_number() OVER (ORDER BY "offset") AS place
			FROM log WHERE convert_from(payload, 'UTF8')::jsonb ? 'stateTransition') l
		FULL JOIN history h ON h.position = l.place`,
		true, true)
}

func together(n int, f func(int)) {
	var all sync.WaitGroup
	for i := range n {
		all.Go(func() { f(i) })
	}
	all.Wait()
}

func TestChange_NormalizesNamesAndMemos(t *testing.T) {
	h := start(t)
	id := book(t, h)
	for typed, want := range map[string]string{
		`{"visitorName":" \u1100\u1175\u11b7 "}`: `"visitorName":"김"`, `{"visitorName":"José O'Brien-Ñ"}`: `"visitorName":"José O'Brien-Ñ"`,
		`{"visitorName":"محمد علی\u200cرضا"}`: `"visitorName":"محمد علی` + "\u200c" + `رضا"`, `{"memo":"첫 방문\r\n오전 희망"}`: `"memo":"첫 방문\n오전 희망"`,
	} {
		require.Contains(t, h.Given(fmt.Sprintf("PATCH /consultations/%d", id), typed).Body.String(), want)
	}
}
