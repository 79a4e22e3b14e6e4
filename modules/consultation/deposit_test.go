package consultation_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"millrace/modules/consultation/consultationapi"
	"millrace/modules/payment/paymentapi"
)

const (
	payment = "0195a3f0-0000-7000-8000-000000000001"
	refund  = "0195a3f0-0000-7000-8000-000000000002"
)

var paidAt = time.Date(2026, 3, 2, 4, 5, 6, 0, time.UTC)

func paid(id int64) paymentapi.Completed {
	return paymentapi.Completed{
		PaymentID: payment, OrderKey: fmt.Sprintf("deposit-%d", id), OrderKind: paymentapi.Deposit, UserID: "90210",
		Amount: 30000, Currency: "KRW", Provider: "simulator", TransactionKey: "tx-1", OccurredAt: paidAt,
	}
}

// nthPayment returns the n-th payment for the i-th consultation, with unique ids.
func nthPayment(id int64, i, n int) paymentapi.Completed {
	p := paid(id)
	p.PaymentID, p.OccurredAt = fmt.Sprintf("0195a3f0-0000-7000-8000-%06d%06d", i+1, n+1), paidAt.Add(time.Duration(n)*time.Hour)
	return p
}

func refundOf(id int64, paymentID string) paymentapi.Refund {
	return paymentapi.Refund{OrderKey: fmt.Sprintf("deposit-%d", id), PaymentID: paymentID, RequestID: paymentID}
}

func refundedEvent(id int64) paymentapi.Refunded {
	return paymentapi.Refunded{
		PaymentID: payment, OrderKey: fmt.Sprintf("deposit-%d", id), OrderKind: paymentapi.Deposit, UserID: "90210",
		Amount: 30000, Currency: "KRW", Provider: "simulator", TransactionKey: "tx-1", RefundID: refund, Reason: "cancelled", OccurredAt: paidAt.Add(time.Hour),
	}
}

func TestDeposit_PaymentConfirmsReceivedConsultation(t *testing.T) {
	h := start(t)
	id := book(t, h)
	h.When(paid(id))
	h.Then(consultationapi.Changed{ConsultationID: id, StateTransition: "CONSULTATION_FIXED", StateTransitionActor: "HOSPITAL", PrevState: "RECEIVED"})
	h.ThenAgainNothing()
	h.ThenRow(`SELECT consultation_id, amount, currency, state FROM deposit`, id, 30000, "KRW", "paid")
	seen := get(t, h, id)
	require.Equal(t, consultationapi.CustomerConfirmed, seen.CustomerStatus)
	require.Len(t, seen.History, 2)
	require.Equal(t, "paid", seen.Deposits[0].State)
}

func TestDeposit_PaymentOfConfirmedConsultationIsOnlyRecorded(t *testing.T) {
	h := start(t)
	id := book(t, h)
	h.Given(moves(id), `{"to":"FIXED","actor":"HOSPITAL"}`)
	h.Then(consultationapi.Changed{ConsultationID: id, StateTransition: "CONSULTATION_FIXED"})
	h.When(paid(id))
	h.ThenNothing()
	h.ThenRow(`SELECT state FROM deposit`, "paid")
}

func TestDeposit_PaymentAfterCancellationIsRefunded(t *testing.T) {
	h := start(t)
	for _, status := range []string{"CANCELED", "REJECTED"} {
		id := book(t, h)
		h.Given(moves(id), fmt.Sprintf(`{"to":%q,"actor":"HOSPITAL"}`, status))
		h.Then(consultationapi.Changed{ConsultationID: id})
		late := paid(id)
		late.PaymentID = fmt.Sprintf("0195a3f0-0000-7000-8000-%012d", id)
		h.When(late)
		h.Then(paymentapi.Refund{OrderKey: late.OrderKey, Reason: paymentapi.DepositPaidLate, RequestID: late.PaymentID})
		h.ThenAgainNothing()
		h.ThenRow(fmt.Sprintf(`SELECT state FROM deposit WHERE consultation_id = %d`, id), "refund_requested")
	}
}

func TestDeposit_CancellationRequestsOneRefund(t *testing.T) {
	h := start(t)
	id := book(t, h)
	h.When(paid(id))
	h.Then(consultationapi.Changed{ConsultationID: id, StateTransition: "CONSULTATION_FIXED"})

	h.Given(moves(id), `{"to":"CANCELED","actor":"MEMBER"}`)
	h.Then(
		consultationapi.Changed{ConsultationID: id, StateTransition: "CONSULTATION_CANCELED", StateTransitionActor: "MEMBER", PrevState: "FIXED"},
		paymentapi.Refund{OrderKey: fmt.Sprintf("deposit-%d", id), Reason: paymentapi.CanceledByMember, RequestID: payment},
	)
	h.Given(moves(id), `{"to":"REJECTED","actor":"HOSPITAL"}`)
	h.Given(moves(id), `{"to":"RECEIVED","actor":"MEMBER"}`)
	h.When(refundedEvent(id))
	h.Given(moves(id), `{"to":"CANCELED","actor":"HOSPITAL"}`)
	h.Then( // without a second refund
		consultationapi.Changed{ConsultationID: id, StateTransition: "CONSULTATION_REJECTED"},
		consultationapi.Changed{ConsultationID: id, StateTransition: "CONSULTATION_RECEIVED"},
		consultationapi.Changed{ConsultationID: id, StateTransition: "CONSULTATION_CANCELED"},
	)
	h.ThenNothing()
	h.ThenRow(`SELECT state, refund_id, refunded_at > paid_at FROM deposit`, "refunded", refund, true)
}

// Whichever commits first, the deposit is refunded once.
func TestDeposit_ConcurrentCancellationAndPaymentRequestOneRefund(t *testing.T) {
	h := start(t)
	ids := make([]int64, 10)
	for i := range ids {
		ids[i] = book(t, h)
	}
	for _, id := range ids {
		both := paid(id)
		both.PaymentID = fmt.Sprintf("0195a3f0-0000-7000-8000-%012d", id)
		cancelled := make(chan int, 1)
		go func() { cancelled <- h.Do(moves(id), `{"to":"CANCELED","actor":"MEMBER"}`).Code }()
		h.When(both)
		require.Equal(t, 201, <-cancelled)
		h.ThenRow(fmt.Sprintf(`SELECT count(*), max(convert_from(payload, 'UTF8')::jsonb->>'requestId') FROM payment.queue WHERE key = 'deposit-%d'`, id), 1, both.PaymentID)
		h.ThenRow(fmt.Sprintf(`SELECT status, (SELECT state FROM deposit d WHERE d.consultation_id = c.id) FROM consultation c WHERE id = %d`, id), "CANCELED", "refund_requested")
	}
}

func TestDeposit_IsKeptAfterNoShow(t *testing.T) {
	h := start(t)
	id := book(t, h)
	h.When(paid(id))
	h.Given(moves(id), `{"to":"NO_SHOW","actor":"HOSPITAL"}`)
	h.Then(
		consultationapi.Changed{ConsultationID: id, StateTransition: "CONSULTATION_FIXED"},
		consultationapi.Changed{ConsultationID: id, StateTransition: "CONSULTATION_NO_SHOW", PrevState: "FIXED"},
	)
	h.ThenNothing()
	h.ThenRow(`SELECT state FROM deposit`, "paid")
}

func TestDeposit_PaymentsOfGoodsAreIgnored(t *testing.T) {
	h := start(t)
	book(t, h)
	h.When(
		paymentapi.Completed{PaymentID: payment, OrderKey: "goods-5600000", OrderKind: paymentapi.Goods, UserID: "90210", Amount: 1, Currency: "KRW"},
		paymentapi.Refunded{PaymentID: payment, OrderKey: "goods-5600000", OrderKind: paymentapi.Goods, UserID: "90210", Amount: 1, Currency: "KRW"},
	)
	h.ThenNothing()
	h.ThenRow(`SELECT count(*) FROM deposit`, 0)
	require.Empty(t, h.DeadLetters())
}

// The customer paid for nothing: a person must look.
func TestDeposit_ForUnknownConsultationIsDeadLetter(t *testing.T) {
	h := start(t)
	nonsense := paid(1)
	nonsense.OrderKey = "deposit-tomorrow"
	h.When(paid(1))
	h.When(nonsense)
	h.ThenNothing()
	dead := h.DeadLetters()
	require.Len(t, dead, 2)
	require.Contains(t, dead[0], "there is no consultation 1")
	require.Contains(t, dead[1], "orderKey: must be")
}
