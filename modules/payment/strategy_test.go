package payment

import (
	"fmt"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"millrace/modules/payment/gateway"
	"millrace/modules/payment/paymentapi"
)

var (
	kinds         = []paymentapi.OrderKind{paymentapi.Goods, paymentapi.Deposit}
	knownStatuses = []gateway.Status{gateway.Pending, gateway.Approved, gateway.Declined, gateway.Canceled, gateway.Expired, gateway.Refused}
)

func TestEveryKindAndStatusHasItsStrategyAndNothingElseHas(t *testing.T) {
	t.Parallel()
	require.Len(t, strategies, len(kinds)*len(knownStatuses))
	for _, kind := range kinds {
		for _, s := range knownStatuses {
			require.Contains(t, strategies, pair{kind, s})
		}
	}
}

func TestAResultCountsByWhereThePaymentStands(t *testing.T) {
	t.Parallel()
	for _, kind := range kinds {
		for _, now := range []status{pending, completed, failed, refunding, refunded} {
			for _, said := range append(knownStatuses, "PARTIALLY_APPROVED", gateway.Refunded) {
				want := late
				switch {
				case said == "PARTIALLY_APPROVED" || said == gateway.Refunded:
					want = unknown
				case now == pending && said == gateway.Pending:
					want = noted
				case now == pending:
					want = settled
				case said == gateway.Pending:
				case now == failed && said == gateway.Approved, now != failed && said != gateway.Approved:
					want = contradiction
				}
				chosen, known := strategies[pair{kind, said}]
				got := judge(&payment{OrderKind: kind, Status: now}, gateway.Result{Status: said}, chosen, known)
				require.Equal(t, want, got, "%s: %s while %s", kind, said, now)
			}
		}
	}
}

func TestEachKindAndStatusMovesThePaymentAndSaysSoOnce(t *testing.T) {
	t.Parallel()
	b := setup(t)
	for i, kind := range kinds {
		for j, said := range knownStatuses {
			s := b.started(fmt.Sprintf("%s-%d%d", kind, i, j))
			r := b.result(s, said)
			want, reason := failed, map[gateway.Status]string{gateway.Declined: "insufficient_funds", gateway.Canceled: "canceled", gateway.Expired: "expired", gateway.Refused: "refused"}[said]
			switch said {
			case gateway.Pending:
				want = pending
			case gateway.Approved:
				want = completed
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

// everyChangeHasItsHistory counts payments whose present state is not the last
// line of their history.
const everyChangeHasItsHistory = `SELECT count(*) FROM payments p WHERE (status, captured, refunded) IS DISTINCT FROM
	(SELECT (h.status, h.captured, h.refunded) FROM payment_history h WHERE h.payment_id = p.payment_id ORDER BY history_id DESC LIMIT 1)`

func TestAResultWithoutAStrategyIsStoredShownAndMovesNothing(t *testing.T) {
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

	require.Equal(t, 204, b.callback(b.result(s, gateway.Approved)), "a result that is understood still counts")
	b.Then(paymentapi.Completed{OrderKey: "goods-17"})
}

func TestAResultThatIsUnderstoodLaterCountsWhenItIsRepeated(t *testing.T) {
	t.Parallel()
	b := setup(t)
	s := b.started("goods-17")
	// As a version left it behind that had no strategy for APPROVED.
	b.Given("GET /payments/"+s.PaymentID, "")
	_, err := b.exec(`INSERT INTO gateway_results (transaction_key, status, source, verdict) VALUES ($1, 'APPROVED', 'callback', 'unknown')`, s.TransactionKey)
	require.NoError(t, err)
	require.Equal(t, 204, b.callback(b.result(s, gateway.Approved)))
	b.Then(paymentapi.Completed{OrderKey: "goods-17"})
}

func TestALateResultNeverMovesAFinalPayment(t *testing.T) {
	t.Parallel()
	b := setup(t)
	for i, c := range []struct {
		first, then gateway.Status
		verdict     verdict
	}{
		{gateway.Approved, gateway.Declined, contradiction},
		{gateway.Approved, gateway.Expired, contradiction},
		{gateway.Declined, gateway.Approved, contradiction},
		{gateway.Declined, gateway.Canceled, late},
	} {
		s := b.started(fmt.Sprintf("goods-%d", i))
		require.Equal(t, 204, b.callback(b.result(s, c.first)))
		before := b.view(s)
		require.Equal(t, 204, b.callback(b.result(s, c.then)))
		after := b.view(s)
		require.Equal(t, before.Status, after.Status)
		require.Equal(t, before.History, after.History)
		require.Equal(t, c.verdict, after.GatewayResults[2].Verdict, "shown")
	}
	b.Then(paymentapi.Completed{OrderKey: "goods-0"}, paymentapi.Completed{OrderKey: "goods-1"}, paymentapi.Failed{OrderKey: "goods-2"}, paymentapi.Failed{OrderKey: "goods-3"})
}

func TestPendingAfterTheResultChangesNothing(t *testing.T) {
	t.Parallel()
	b := setup(t)
	answered := make(chan struct{})
	b.gateway.onCharge = func(c gateway.Charge) (gateway.Result, error) {
		<-answered // so that the callbacks come before our own request has returned
		return resultOf(c, gateway.Pending), nil
	}
	s := b.asked("goods-17")
	require.Equal(t, 204, b.callback(b.result(s, gateway.Approved)))
	b.Then(paymentapi.Completed{OrderKey: "goods-17"})
	require.Equal(t, 204, b.callback(b.result(s, gateway.Pending)))
	close(answered)
	b.ThenRow(`SELECT state FROM dispatch WHERE key = 'goods-17'`, "done")
	v := b.view(s)
	require.Equal(t, completed, v.Status)
	require.Equal(t, late, v.GatewayResults[1].Verdict)
	b.ThenNothing()
}

// Opposite results at the same moment: the row lock lets one of them decide.
func TestOfOppositeResultsAtOnceOneDecides(t *testing.T) {
	t.Parallel()
	b := setup(t)
	const orders = 20
	for i := range orders {
		s := b.asked(fmt.Sprintf("goods-%d", i))
		var both sync.WaitGroup
		for _, said := range []gateway.Status{gateway.Approved, gateway.Declined} {
			both.Go(func() {
				if code := b.callback(b.result(s, said)); code != 204 {
					t.Errorf("%s: %d", said, code)
				}
			})
		}
		both.Wait()
	}
	b.ThenRow(`SELECT count(*), count(DISTINCT key) FROM log`, orders, orders)
	b.ThenRow(`SELECT count(*), count(*) FILTER (WHERE verdict = 'settled') FROM gateway_results WHERE status <> 'PENDING'`, 2*orders, orders)
	b.ThenRow(`SELECT count(*) FROM payment_history`, 2*orders)
}
