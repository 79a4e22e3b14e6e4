package payment

import (
	"fmt"
	"slices"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"millrace/modules/payment/gateway"
	"millrace/modules/payment/paymentapi"
)

var (
	kinds         = []paymentapi.OrderKind{paymentapi.Goods, paymentapi.Deposit}
	knownStatuses = []gateway.Status{gateway.Pending, gateway.Approved, gateway.Declined, gateway.Canceled, gateway.Expired, gateway.Refused, gateway.PartialCanceled, gateway.Refunded}
)

func TestStrategies_CoverEveryKindAndKnownStatus(t *testing.T) {
	t.Parallel()
	require.Len(t, strategies, len(kinds)*len(knownStatuses))
	for _, kind := range kinds {
		for _, s := range knownStatuses {
			require.Contains(t, strategies, pair{kind, s})
		}
	}
}

func TestClassify_VerdictDependsOnPaymentStatus(t *testing.T) {
	t.Parallel()
	money := []gateway.Status{gateway.Approved, gateway.PartialCanceled, gateway.Refunded}
	for _, kind := range kinds {
		for _, now := range []status{pending, completed, failed, refunding, refunded} {
			for _, reported := range append(knownStatuses, "PARTIALLY_APPROVED") {
				want := late
				switch {
				case reported == "PARTIALLY_APPROVED":
					want = unknown
				case now == pending && reported == gateway.Pending:
					want = noted
				case now == pending:
					want = settled
				case reported == gateway.Pending:
				case now == failed && slices.Contains(money, reported):
					want = reopened
				case now == failed, now == refunded && (slices.Contains(money, reported) || reported == gateway.Canceled):
				case reported == gateway.Canceled, reported == gateway.Refunded, reported == gateway.PartialCanceled:
					want = returned
				case reported != gateway.Approved:
					want = contradiction
				}
				p := &payment{OrderKind: kind, Status: now, Amount: 100, Captured: 100}
				switch now {
				case pending, failed:
					p.Captured = 0
				case refunded:
					p.Refunded = 100
				case completed, refunding:
				}
				r := receivedResult{Result: gateway.Result{Status: reported, Amount: 100}}
				if reported == gateway.PartialCanceled {
					r.CanceledAmount = 40
				}
				goneBack := map[gateway.Status]int64{gateway.PartialCanceled: 40, gateway.Refunded: 100, gateway.Canceled: 100}[reported]
				chosen, known := strategies[pair{kind, r.means()}]
				require.Equal(t, want, classify(p, r, chosen, known, returnedMoney{total: max(p.Refunded, goneBack)}), "%s: %s while %s", kind, reported, now)
			}
		}
	}
}

func TestResult_EachKindAndStatusPublishesOnce(t *testing.T) {
	t.Parallel()
	b := setup(t)
	for i, kind := range kinds {
		for j, reported := range knownStatuses {
			s := b.started(fmt.Sprintf("%s-%d%d", kind, i, j))
			r := b.result(s, reported)
			want, reason := failed, map[gateway.Status]string{gateway.Declined: "insufficient_funds", gateway.Canceled: "canceled", gateway.Expired: "expired", gateway.Refused: "refused"}[reported]
			switch reported {
			case gateway.Pending:
				want = pending
			case gateway.Approved:
				want = completed
			case gateway.PartialCanceled, gateway.Refunded:
				continue // returned money: see returnedmoney_test.go
			}
			for range 2 {
				require.Equal(t, 204, b.callback(r))
			}
			switch want {
			case pending:
				b.ThenNothing()
			case completed:
				b.Then(paymentapi.Completed{PaymentID: s.PaymentID, OrderKey: s.OrderKey, OrderKind: kind, TransactionKey: s.TransactionKey})
			case failed:
				b.Then(paymentapi.Failed{PaymentID: s.PaymentID, OrderKey: s.OrderKey, OrderKind: kind, FailedReason: reason, Amount: 15000})
			}
			v := b.view(s)
			require.Equal(t, want, v.Status)
			require.Equal(t, reason, v.FailedReason)
			require.Equal(t, want == completed, v.Captured == 15000)
		}
	}
	b.ThenRow(everyChangeHasItsHistory, 0)
}

// everyChangeHasItsHistory counts payments whose current state differs from their
// last history row.
const everyChangeHasItsHistory = `SELECT count(*) FROM payments p WHERE (status, captured, refunded) IS DISTINCT FROM
	(SELECT (h.status, h.captured, h.refunded) FROM payment_history h WHERE h.payment_id = p.payment_id ORDER BY history_id DESC LIMIT 1)`

func TestResult_UnknownStatusIsStoredAndChangesNothing(t *testing.T) {
	t.Parallel()
	b := setup(t)
	s := b.started("goods-17")
	require.Equal(t, 204, b.callback(b.result(s, "PARTIALLY_APPROVED")))
	b.ThenNothing()
	v := b.view(s)
	require.Equal(t, pending, v.Status)
	require.Equal(t, gateway.Status("PARTIALLY_APPROVED"), v.GatewayResults[1].Status)
	require.Equal(t, unknown, v.GatewayResults[1].Verdict)
	before := b.hash()
	require.Equal(t, 204, b.callback(b.result(s, "PARTIALLY_APPROVED")))
	require.Equal(t, before, b.hash())

	require.Equal(t, 204, b.callback(b.result(s, gateway.Approved)), "a known result still counts")
	b.Then(paymentapi.Completed{OrderKey: "goods-17"})
}

func TestResult_StatusKnownSinceUpgradeCountsWhenRepeated(t *testing.T) {
	t.Parallel()
	b := setup(t)
	s := b.started("goods-17")
	// Stored by an earlier version that had no strategy for APPROVED.
	b.Given("GET /payments/"+s.PaymentID, "")
	_, err := b.exec(`INSERT INTO gateway_results (transaction_key, status, source, verdict) VALUES ($1, 'APPROVED', 'callback', 'unknown')`, s.TransactionKey)
	require.NoError(t, err)
	require.Equal(t, 204, b.callback(b.result(s, gateway.Approved)))
	b.Then(paymentapi.Completed{OrderKey: "goods-17"})
}

func TestResult_LateStatusDoesNotChangeFinalPayment(t *testing.T) {
	t.Parallel()
	b := setup(t)
	for i, c := range []struct {
		first, then gateway.Status
		verdict     verdict
	}{
		{gateway.Approved, gateway.Declined, contradiction},
		{gateway.Approved, gateway.Expired, contradiction},
		{gateway.Declined, gateway.Expired, late},
		{gateway.Declined, gateway.Canceled, late},
	} {
		s := b.started(fmt.Sprintf("goods-%d", i))
		require.Equal(t, 204, b.callback(b.result(s, c.first)))
		before := b.view(s)
		require.Equal(t, 204, b.callback(b.result(s, c.then)))
		after := b.view(s)
		require.Equal(t, before.Status, after.Status)
		require.Equal(t, before.History, after.History)
		require.Equal(t, c.verdict, after.GatewayResults[2].Verdict)
	}
	b.Then(paymentapi.Completed{OrderKey: "goods-0"}, paymentapi.Completed{OrderKey: "goods-1"}, paymentapi.Failed{OrderKey: "goods-2"}, paymentapi.Failed{OrderKey: "goods-3"})
}

func TestResult_PendingAfterFinalChangesNothing(t *testing.T) {
	t.Parallel()
	b := setup(t)
	answered := make(chan struct{})
	b.gateway.onCharge = func(c gateway.Charge) (gateway.Result, error) {
		<-answered // the callbacks arrive before the response to our request
		return resultOf(c, gateway.Pending), nil
	}
	s := b.asked("goods-17")
	require.Equal(t, 204, b.callback(b.result(s, gateway.Approved)))
	b.Then(paymentapi.Completed{OrderKey: "goods-17"})
	require.Equal(t, 204, b.callback(b.result(s, gateway.Pending)))
	close(answered)
	b.ThenRow(`SELECT state FROM outbound_calls WHERE key = 'goods-17'`, "succeeded")
	v := b.view(s)
	require.Equal(t, completed, v.Status)
	require.Equal(t, late, v.GatewayResults[1].Verdict)
	b.ThenNothing()
}

// Opposite results arrive concurrently. The row lock lets one of them decide.
func TestResult_OneOfConcurrentOppositeResultsDecides(t *testing.T) {
	t.Parallel()
	b := setup(t)
	const orders = 20
	for i := range orders {
		s := b.asked(fmt.Sprintf("goods-%d", i))
		var both sync.WaitGroup
		for _, reported := range []gateway.Status{gateway.Approved, gateway.Declined} {
			both.Go(func() {
				if code := b.callback(b.result(s, reported)); code != 204 {
					t.Errorf("%s: %d", reported, code)
				}
			})
		}
		both.Wait()
	}
	// The first result decides. If it is DECLINED, the APPROVED that follows is a late
	// success, so that every order ends as paid.
	b.ThenRow(`SELECT count(*), count(DISTINCT key) FROM log WHERE type = 'payment.completed'`, orders, orders)
	b.ThenRow(`SELECT count(*), count(*) FILTER (WHERE verdict = 'settled') FROM gateway_results WHERE status <> 'PENDING'`, 2*orders, orders)
	b.ThenRow(`SELECT count(*) FROM gateway_results g WHERE verdict IN ('contradiction', 'reopened')`, orders)
	b.ThenRow(`SELECT count(*) FROM attention WHERE reason IN ('contradiction', 'late_success')`, orders)
	b.ThenRow(everyChangeHasItsHistory, 0)
}
