package consultation_test

import (
	"encoding/json"
	"fmt"
	"net/http/httptest"
	"testing"

	"github.com/stretchr/testify/require"

	"millrace/modules/consultation/consultationapi"
	"millrace/modules/payment/paymentapi"
	"millrace/platform/bus/bustest"
)

// now returns the current status and version that a refusal reports.
func now(t *testing.T, answer *httptest.ResponseRecorder) (status string, version int64) {
	t.Helper()
	var problem struct {
		Current struct {
			Status  string
			Version int64
		}
	}
	require.NoError(t, json.Unmarshal(answer.Body.Bytes(), &problem), "%s", answer.Body)
	return problem.Current.Status, problem.Current.Version
}

// createBooking creates a consultation without consuming its events.
func createBooking(t *testing.T, h *bustest.Harness) int64 {
	t.Helper()
	return decode(t, h.Given(`POST /consultations`, `{"hospitalId":4848,"memberId":90210}`).Body.Bytes()).ConsultationID
}

func patch(id int64) string { return fmt.Sprintf("PATCH /consultations/%d", id) }

func TestCondition_IfMatchRequiresCurrentVersion(t *testing.T) {
	h := start(t)
	made := h.Given(`POST /consultations`, `{"hospitalId":4848,"memberId":90210}`)
	id := decode(t, made.Body.Bytes()).ConsultationID
	require.Equal(t, `"1"`, made.Header().Get("ETag"))
	require.Equal(t, `"1"`, h.Given(one(id), "").Header().Get("ETag"))

	edited := h.Do(patch(id), `{"memo":"a"}`, `If-Match: "1"`)
	require.Equal(t, 200, edited.Code, "%s", edited.Body)
	require.Equal(t, `"2"`, edited.Header().Get("ETag"))
	require.Equal(t, `"2"`, h.Do(patch(id), `{"memo":"a"}`, `If-Match: "2"`).Header().Get("ETag"), "nothing changed")

	for route, body := range map[string]string{
		patch(id): `{"memo":"b"}`,
		moves(id): `{"to":"FIXED","actor":"HOSPITAL"}`,
	} {
		stale := h.Do(route, body, `If-Match: "1"`)
		require.Equal(t, 412, stale.Code, "%s", stale.Body)
		require.Contains(t, stale.Body.String(), `"location":"header.If-Match"`)
		status, version := now(t, stale)
		require.Equal(t, "RECEIVED", status)
		require.EqualValues(t, 2, version)
	}
	moved := h.Do(moves(id), `{"reservationAt":"2026-12-01T10:00:00Z","actor":"MEMBER"}`, `If-Match: W/"9", "0","2"`)
	require.Equal(t, 201, moved.Code, "%s", moved.Body)
	require.Equal(t, `"3"`, moved.Header().Get("ETag"))
	require.Equal(t, `"3"`, h.Given(one(id), "").Header().Get("ETag"))
	require.Equal(t, 412, h.Do(moves(id), `{"reservationAt":"2026-12-01T11:00:00Z","actor":"HOSPITAL"}`, `If-Match: "2"`).Code)
	require.Equal(t, 412, h.Do(moves(id), `{"to":"RECEIVED","actor":"HOSPITAL"}`, `If-Match: "2"`).Code, "the condition is checked before the move")
	require.Equal(t, 404, h.Do(moves(1), `{"to":"FIXED","actor":"HOSPITAL"}`, `If-Match: "1"`).Code, "there is no such consultation, whatever is expected")
	require.Equal(t, 422, h.Do(moves(id), `{"to":"NOWHERE","actor":"HOSPITAL"}`, `If-Match: "1"`).Code)
	h.ThenRow(`SELECT status, memo, moves, version FROM consultation`, "RECEIVED", "a", 2, 3)
}

func TestCondition_ExpectedStatusRequiresCurrentStatus(t *testing.T) {
	h := start(t)
	id := book(t, h)
	for _, route := range []string{moves(id), patch(id)} {
		body := map[string]string{moves(id): `{"to":"FIXED","actor":"HOSPITAL"}`, patch(id): `{"memo":"x"}`}[route]
		wrong := h.Do(route+"?expectedStatus=CONTACTING", body)
		require.Equal(t, 409, wrong.Code, "%s", wrong.Body)
		require.Contains(t, wrong.Body.String(), `"location":"query.expectedStatus"`)
		status, version := now(t, wrong)
		require.Equal(t, "RECEIVED", status)
		require.EqualValues(t, 1, version)
		for _, slip := range []string{"?expectedStatus=", "?expectedStatus=RECEIVED&expectedStatus=RECEIVED", "?expectedStatus=received", "?expectedstatus=RECEIVED", "?expectedStatus=NOWHERE"} {
			require.Equal(t, 422, h.Do(route+slip, body).Code, slip)
		}
	}
	require.Equal(t, 412, h.Do(moves(id)+"?expectedStatus=CONTACTING", `{"to":"FIXED","actor":"HOSPITAL"}`, `If-Match: "9"`).Code, "both fail")
	require.Equal(t, 409, h.Do(moves(id)+"?expectedStatus=CONTACTING", `{"to":"FIXED","actor":"HOSPITAL"}`, `If-Match: "1"`).Code, "one fails")
	require.Equal(t, 201, h.Do(moves(id)+"?expectedStatus=RECEIVED", `{"to":"FIXED","actor":"HOSPITAL"}`, `If-Match: "1"`).Code)
	require.Equal(t, 201, h.Do(moves(id), `{"to":"VISITED","actor":"HOSPITAL"}`).Code, "without a condition the later move wins")
}

// A client that lost the first response repeats the request with a condition that
// no longer holds.
func TestCondition_IsNotCheckedForRepeatedRequest(t *testing.T) {
	h := start(t)
	id := book(t, h)
	const fix = `{"to":"FIXED","actor":"HOSPITAL"}`
	require.Equal(t, 412, h.Do(moves(id), fix, "Idempotency-Key: k", `If-Match: "7"`).Code)
	first := h.Do(moves(id), fix, "Idempotency-Key: k", `If-Match: "1"`)
	require.Equal(t, 201, first.Code, "a refused request does not use up its key")
	again := h.Do(moves(id)+"?expectedStatus=RECEIVED", fix, "Idempotency-Key: k", `If-Match: "1"`)
	require.Equal(t, 201, again.Code, "%s", again.Body)
	require.Equal(t, first.Body.String(), again.Body.String())
	require.Empty(t, again.Header().Get("ETag"), "an old response must not be usable as a condition")
	h.ThenRow(`SELECT count(*) FROM history`, 2)
}

func TestCondition_DepositChangesTheVersion(t *testing.T) {
	h := start(t)
	id := book(t, h)
	h.Given(moves(id), `{"to":"FIXED","actor":"HOSPITAL"}`)
	seen := h.Given(one(id), "").Header().Get("ETag")
	h.When(paid(id))
	stale := h.Do(moves(id), `{"to":"VISITED","actor":"HOSPITAL"}`, "If-Match: "+seen)
	require.Equal(t, 412, stale.Code)
	seen = h.Given(one(id), "").Header().Get("ETag")
	h.When(refundedEvent(id))
	require.Equal(t, 412, h.Do(moves(id), `{"to":"VISITED","actor":"HOSPITAL"}`, "If-Match: "+seen).Code)
	h.When(refundedEvent(id)) // the same refund with another message id changes nothing
	require.Equal(t, 201, h.Do(moves(id), `{"to":"VISITED","actor":"HOSPITAL"}`, "If-Match: "+h.Given(one(id), "").Header().Get("ETag")).Code)
}

func TestGuard_CancelledConsultationMustBeReopenedFirst(t *testing.T) {
	h := start(t)
	for _, status := range []string{"NO_SHOW", "CANCELED", "REJECTED"} {
		id := createBooking(t, h)
		h.Given(moves(id), fmt.Sprintf(`{"to":%q,"actor":"HOSPITAL"}`, status))
		for _, body := range []string{`{"to":"FIXED","actor":"HOSPITAL"}`, `{"reservationAt":"2026-12-01T10:00:00Z","actor":"MEMBER"}`} {
			refused := h.Do(moves(id), body)
			require.Equal(t, 409, refused.Code, "%s", refused.Body)
			require.Contains(t, refused.Body.String(), "re-opening")
			is, version := now(t, refused)
			require.Equal(t, status, is)
			require.EqualValues(t, 2, version)
			require.Equal(t, 409, h.Do(moves(id)+"?expectedStatus="+status, body, `If-Match: "2"`).Code, "it is refused although the condition holds")
		}
		h.Given(patch(id), `{"memo":"a note is no move"}`)
		h.Given(moves(id), `{"to":"CONTACTING","actor":"HOSPITAL"}`)
		h.Given(moves(id), `{"reservationAt":"2026-12-01T10:00:00Z","actor":"MEMBER"}`)
		h.Given(moves(id), `{"to":"FIXED","actor":"HOSPITAL"}`)
	}
}

// The customer cancels while the hospital confirms the same consultation.
func TestGuard_ConcurrentCancelAndConfirmNeverEndRefundedAndFixed(t *testing.T) {
	h := start(t)
	const rounds = 40
	ids := make([]int64, rounds)
	for i := range ids {
		ids[i] = createBooking(t, h)
		h.When(nthPayment(ids[i], i, 0))
		h.Given(moves(ids[i]), `{"to":"CONTACTING","actor":"HOSPITAL"}`)
	}
	for i, id := range ids {
		condition := ""
		if i%2 == 1 {
			condition = "?expectedStatus=CONTACTING"
		}
		codes := make([]int, 3)
		together(len(codes), func(n int) {
			codes[n] = h.Do(moves(id)+condition, [...]string{
				`{"to":"CANCELED","actor":"MEMBER"}`, `{"to":"FIXED","actor":"HOSPITAL"}`, `{"reservationAt":"2026-12-01T10:00:00Z","actor":"HOSPITAL"}`,
			}[n]).Code
		})
		if condition != "" {
			require.NotEqual(t, []int{201, 201}, codes[:2], "both expected the same status, so only one can succeed")
		} else {
			require.Equal(t, 201, codes[0])
		}
	}
	h.ThenRow(`SELECT count(*) FROM consultation c WHERE status = 'FIXED' AND EXISTS (SELECT 1 FROM deposit d WHERE d.consultation_id = c.id AND d.state <> 'paid')`, 0)
	h.ThenRow(`SELECT count(*) FROM consultation c WHERE (status = 'CANCELED') <> EXISTS (SELECT 1 FROM deposit d WHERE d.consultation_id = c.id AND d.state = 'refund_requested')`, 0)
	h.ThenRow(`SELECT count(*) FROM history h WHERE from_status = 'CANCELED'`, 0)
}

func TestGuard_NoConfirmationDuringDepositRefund(t *testing.T) {
	h := start(t)
	id := book(t, h)
	h.When(paid(id))
	h.Given(moves(id), `{"to":"CANCELED","actor":"MEMBER"}`)
	h.Given(moves(id), `{"to":"RECEIVED","actor":"MEMBER"}`)
	const fix = `{"to":"FIXED","actor":"HOSPITAL"}`
	refused := h.Do(moves(id), fix)
	require.Equal(t, 409, refused.Code)
	require.Contains(t, refused.Body.String(), "is being refunded")
	h.When(refundedEvent(id))
	refused = h.Do(moves(id), fix)
	require.Equal(t, 409, refused.Code)
	require.Contains(t, refused.Body.String(), "was refunded")
	status, _ := now(t, refused)
	require.Equal(t, "RECEIVED", status)
	h.Given(moves(id), `{"to":"VISITED","actor":"HOSPITAL"}`) // only the confirmation is refused
}

func TestDeposit_CanBePaidAgainAfterRefundAndReopening(t *testing.T) {
	h := start(t)
	id := book(t, h)
	h.When(paid(id))
	h.Given(moves(id), `{"to":"CANCELED","actor":"MEMBER"}`)
	h.When(refundedEvent(id))
	h.Given(moves(id), `{"to":"RECEIVED","actor":"MEMBER"}`)
	h.Then(
		consultationapi.Changed{ConsultationID: id, StateTransition: "CONSULTATION_FIXED"},
		consultationapi.Changed{ConsultationID: id, StateTransition: "CONSULTATION_CANCELED"},
		refundOf(id, payment),
		consultationapi.Changed{ConsultationID: id, StateTransition: "CONSULTATION_RECEIVED"},
	)
	again := nthPayment(id, 0, 1)
	h.When(again)
	h.Then(consultationapi.Changed{ConsultationID: id, StateTransition: "CONSULTATION_FIXED", StateTransitionActor: "HOSPITAL", PrevState: "RECEIVED"})
	h.When(refundedEvent(id)) // a late copy of the first payment's refund
	h.ThenRow(`SELECT string_agg(state, ',' ORDER BY payment_id = $$`+payment+`$$ DESC) FROM deposit`, "refunded,paid")

	h.Given(moves(id), `{"to":"CANCELED","actor":"MEMBER"}`)
	h.Then(consultationapi.Changed{ConsultationID: id, StateTransition: "CONSULTATION_CANCELED"}, refundOf(id, again.PaymentID))
	h.When(refundedEvent(id))
	h.ThenRow(`SELECT string_agg(state, ',' ORDER BY payment_id = $$`+payment+`$$ DESC) FROM deposit`, "refunded,refund_requested")
	require.Empty(t, h.DeadLetters())
}

// The second payment arrives before the refund of the first one. A paid deposit
// takes precedence.
func TestDeposit_LateRefundOfFirstPaymentKeepsSecond(t *testing.T) {
	h := start(t)
	id := book(t, h)
	h.When(paid(id))
	h.Given(moves(id), `{"to":"CANCELED","actor":"MEMBER"}`)
	h.Given(moves(id), `{"to":"RECEIVED","actor":"MEMBER"}`)
	h.When(nthPayment(id, 0, 1))
	require.EqualValues(t, "FIXED", get(t, h, id).Status)
	h.When(refundedEvent(id))
	require.EqualValues(t, "FIXED", get(t, h, id).Status)
	h.Given(moves(id), `{"to":"HOLD","actor":"HOSPITAL"}`)
	h.Given(moves(id), `{"to":"FIXED","actor":"HOSPITAL"}`)
	require.Empty(t, h.DeadLetters())
}

func TestDeposit_ContradictoryMessageIsDeadLetter(t *testing.T) {
	h := start(t)
	free := createBooking(t, h)
	for i, row := range []struct {
		field string
		wrong func(back *paymentapi.Refunded)
	}{
		{"amount: ", func(back *paymentapi.Refunded) { back.Amount = 30001 }},
		{"amount: ", func(back *paymentapi.Refunded) { back.Amount = 1 }},
		{"currency: ", func(back *paymentapi.Refunded) { back.Currency = "USD" }},
		{"never recorded as paid", func(back *paymentapi.Refunded) { back.PaymentID = refund }},
		{"orderKey: ", func(back *paymentapi.Refunded) { back.OrderKey = fmt.Sprintf("deposit-%d", free) }},
	} {
		id := createBooking(t, h)
		first := nthPayment(id, i, 0)
		h.When(first)
		back := refundedEvent(id)
		back.PaymentID = first.PaymentID
		row.wrong(&back)
		h.When(back)
		dead := h.DeadLetters()
		require.Len(t, dead, i+1)
		require.Contains(t, dead[i], row.field)
	}
	id := createBooking(t, h)
	h.When(nthPayment(id, 9, 0))
	twice := nthPayment(id, 9, 0)
	twice.Amount = 40000
	h.When(twice)
	require.Contains(t, h.DeadLetters()[5], "amount: ")
	id = createBooking(t, h)
	h.When(nthPayment(id, 10, 0))
	chargedTwice := refundedEvent(id)
	chargedTwice.PaymentID, chargedTwice.Duplicate = refund, true
	h.When(chargedTwice)
	require.Len(t, h.DeadLetters(), 6, "the refund of a duplicate charge is ignored")
	h.ThenRow(`SELECT count(*), count(DISTINCT state), min(state), max(amount) FROM deposit`, 7, 1, "paid", 30000)
}

func TestDeposit_InvalidMessageIsDeadLetter(t *testing.T) {
	h := start(t)
	for i, row := range []struct {
		field string
		wrong func(*paymentapi.Completed)
	}{
		{"amount: -5 ", func(e *paymentapi.Completed) { e.Amount = -5 }},
		{"amount: 0 ", func(e *paymentapi.Completed) { e.Amount = 0 }},
		{"currency: ", func(e *paymentapi.Completed) { e.Currency = "XTS" }},
		{"paymentId: ", func(e *paymentapi.Completed) { e.PaymentID = "" }},
		{"paymentId: must be a UUID", func(e *paymentapi.Completed) { e.PaymentID = "p-1" }},
		{"orderKind: must be deposit", func(e *paymentapi.Completed) { e.OrderKind = "" }}, // must not be ignored silently
	} {
		id := createBooking(t, h)
		e := nthPayment(id, i, 0)
		row.wrong(&e)
		h.When(e)
		dead := h.DeadLetters()
		require.Len(t, dead, i+1, row.field)
		require.Contains(t, dead[i], row.field)
		require.EqualValues(t, "RECEIVED", get(t, h, id).Status)
	}
	h.ThenRow(`SELECT count(*) FROM deposit`, 0)
}
