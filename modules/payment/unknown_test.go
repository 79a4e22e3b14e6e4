package payment

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"millrace/modules/payment/gateway"
	"millrace/modules/payment/paymentapi"
	"millrace/platform/bus"
	"millrace/platform/bus/bustest"
	"millrace/platform/errs"
)

// behindProxy starts the payment module with a provider whose HTTP responses the
// test sets.
func behindProxy(t *testing.T, answer http.HandlerFunc) *bundle {
	t.Helper()
	server := httptest.NewServer(answer)
	t.Cleanup(server.Close)
	b := &bundle{t: t, gateway: &fake{}}
	b.Harness = bustest.Start(t, func(db *bus.DB) bustest.Module {
		b.db = db
		b.module = New(db, Config{Provider: "simulator", GatewayURL: server.URL, GatewayTimeout: time.Second, CallbackURL: "http://127.0.0.1:1/", CallbackSecrets: []string{secret}, StatusCheckAfter: time.Hour})
		return b.module
	})
	return b
}

func TestCharge_RetryLooksUpFirstAndChargesOnlyIfNotFound(t *testing.T) {
	t.Parallel()
	b := setup(t)
	charges := 0
	b.gateway.onCharge = func(c gateway.Charge) (gateway.Result, error) {
		if charges++; charges == 1 {
			return gateway.Result{}, context.DeadlineExceeded
		}
		return resultOf(c, gateway.Approved), nil
	}
	looked := 0
	b.gateway.onLookup = func(gateway.Charge) (gateway.Result, error) {
		if looked++; looked == 1 {
			return gateway.Result{}, errors.New("400 text/html")
		}
		return gateway.Result{}, gateway.ErrNotThere
	}
	s := b.asked("goods-17")
	b.Then(paymentapi.Completed{OrderKey: "goods-17"})
	require.Equal(t, 2, charges)
	require.Equal(t, 2, looked)
	require.Equal(t, b.gateway.charges[0], b.gateway.charges[1], "the same key and body")
	require.Equal(t, s.TransactionKey, b.gateway.lookups[0].TransactionKey)
}

func TestCharge_LookupProvidesTheResult(t *testing.T) {
	t.Parallel()
	for _, found := range []gateway.Status{gateway.Approved, gateway.Declined} {
		b := setup(t)
		b.gateway.onCharge = func(gateway.Charge) (gateway.Result, error) {
			return gateway.Result{}, errs.New(errs.Forbidden, "a fault that no provider made")
		}
		b.gateway.onLookup = func(c gateway.Charge) (gateway.Result, error) { return resultOf(c, found), nil }
		s := b.asked("goods-17")
		if found == gateway.Approved {
			b.Then(paymentapi.Completed{OrderKey: "goods-17"})
		} else {
			b.Then(paymentapi.Failed{OrderKey: "goods-17", FailedReason: "declined"})
		}
		v := b.view(s)
		require.Equal(t, byLookup, v.GatewayResults[0].Source)
		require.Equal(t, cause("lookup"), v.History[1].Cause)
		require.Len(t, b.gateway.charges, 1)
	}
}

// After a crash or a retry by an operator the queue counts attempts from one
// again, although the charge was requested before.
func TestCharge_RestartedCallLooksUpBeforeCharging(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.started("goods-17")
	b.gateway.mu.Lock()
	b.gateway.onLookup = func(c gateway.Charge) (gateway.Result, error) { return resultOf(c, gateway.Approved), nil }
	b.gateway.mu.Unlock()
	_, err := b.exec(`UPDATE outbound_calls SET state = 'pending', attempts = 0, completed_at = NULL`)
	require.NoError(t, err)
	b.Then(paymentapi.Completed{OrderKey: "goods-17"})
	require.Len(t, b.gateway.charges, 1)
}

func TestStatusCheck_UnknownResultIsListedUntilResultArrives(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.gateway.onLookup = func(gateway.Charge) (gateway.Result, error) {
		return gateway.Result{}, &errs.Error{Kind: errs.Resource, Field: "http_502", Msg: "no answer"}
	}
	s := b.started("goods-17")
	for n := range unknownAfter {
		b.ThenRow(`SELECT count(*) FROM attention`, 0)
		require.NoError(t, b.module.service.startStatusChecks(t.Context(), 0))
		b.ThenRow(`SELECT count(*) FROM outbound_calls WHERE state = 'succeeded'`, n+2)
	}
	v := b.view(s)
	require.Equal(t, pending, v.Status)
	require.Len(t, v.NeedsAttention, 1)
	require.Equal(t, "no result of the charge: resource (http_502)", v.NeedsAttention[0].Detail)
	require.NotEmpty(t, v.NeedsAttention[0].NextStep)
	require.Len(t, b.gateway.charges, 1, "a status check never charges what may have been charged")
	require.Equal(t, 204, b.callback(b.result(s, gateway.Declined)))
	b.Then(paymentapi.Failed{OrderKey: "goods-17"})
	b.ThenRow(`SELECT reason, ended_at IS NOT NULL, ended_by FROM attention`, "unknown_result", true, "")
}

// The first check comes after the configured time, each next one after
// twice as long, at most an hour.
func TestStatusCheck_IntervalsDoubleUpToAnHour(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.started("goods-17")
	for checks, gap := range []string{"1 minute", "2 minutes", "4 minutes", "8 minutes", "16 minutes", "32 minutes", "1 hour", "1 hour"} {
		for edge, due := range map[string]int{"- interval '10 seconds'": 0, "+ interval '10 seconds'": 1} {
			_, err := b.exec(`UPDATE charges SET checks = $1, asked_at = now() - (interval '`+gap+`' `+edge+`)`, checks)
			require.NoError(t, err)
			require.NoError(t, b.inTx(func(tx *bus.Tx) error {
				waiting, err := takeUnanswered(t.Context(), tx, time.Minute)
				require.Len(t, waiting, due, "%d checks, %s %s", checks, gap, edge)
				return err
			}))
		}
	}
}

func TestStatusCheck_PendingForADayIsListedOnce(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.started("goods-17")
	_, err := b.exec(`UPDATE payments SET created_at = now() - interval '25 hours'`)
	require.NoError(t, err)
	for range 2 {
		require.NoError(t, b.module.service.startStatusChecks(t.Context(), time.Hour))
		b.ThenRow(`SELECT count(*), min(reason) FROM attention`, 1, "unknown_result")
	}
	_, err = b.exec(`UPDATE attention SET ended_at = now(), ended_by = 'kim', ended_why = 'the customer will pay by transfer'`)
	require.NoError(t, err)
	require.NoError(t, b.module.service.startStatusChecks(t.Context(), time.Hour))
	b.ThenRow(`SELECT count(*) FROM attention`, 1)
}

// Only the provider's own code refuses a refund finally. After other responses the
// refund is looked up by its id, and the money is returned once.
func TestRefund_UnknownResultIsLookedUpByRefundID(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.gateway.onRefund = func(gateway.Refund) (gateway.RefundResult, error) {
		return gateway.RefundResult{}, errs.New(errs.Invalid, "422 text/html") // not the provider's own response
	}
	found := 0
	b.gateway.onFind = func(r gateway.Refund) (gateway.RefundResult, error) {
		switch found++; found {
		case 1:
			return gateway.RefundResult{}, errors.New("404 text/html")
		case 2:
			return refundOf(r, gateway.Pending), nil
		}
		return refundOf(r, gateway.Refunded), nil
	}
	s := b.started("goods-17")
	require.Equal(t, 204, b.callback(b.result(s, gateway.Approved)))
	b.When(paymentapi.Refund{OrderKey: "goods-17", Reason: "damaged"})
	b.Then(paymentapi.Completed{OrderKey: "goods-17"}, paymentapi.Refunded{OrderKey: "goods-17"})
	require.Len(t, b.gateway.refunds, 1)
	require.Len(t, b.gateway.finds, 3)
	require.Equal(t, b.gateway.refunds[0], b.gateway.finds[2])
	require.Empty(t, b.view(s).NeedsAttention)
}

func TestRefund_NotFoundAtProviderIsRequestedAgain(t *testing.T) {
	t.Parallel()
	b := setup(t)
	asked := 0
	b.gateway.onRefund = func(r gateway.Refund) (gateway.RefundResult, error) {
		if asked++; asked == 1 {
			return gateway.RefundResult{}, context.DeadlineExceeded
		}
		return refundOf(r, gateway.Refunded), nil
	}
	s := b.started("goods-17")
	require.Equal(t, 204, b.callback(b.result(s, gateway.Approved)))
	b.When(paymentapi.Refund{OrderKey: "goods-17", Reason: "damaged"})
	b.Then(paymentapi.Completed{OrderKey: "goods-17"}, paymentapi.Refunded{OrderKey: "goods-17"})
	require.Equal(t, b.gateway.refunds[0], b.gateway.refunds[1])
	require.Len(t, b.gateway.finds, 1)
}

func TestRefund_RefusalIsListedUntilRefunded(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.answerRefunds("account_closed")
	s := b.started("goods-17")
	require.Equal(t, 204, b.callback(b.result(s, gateway.Approved)))
	b.Then(paymentapi.Completed{OrderKey: "goods-17"})
	b.When(paymentapi.Refund{OrderKey: "goods-17", Reason: "damaged"})
	b.ThenRow(`SELECT reason, detail, ended_at FROM attention`, "refund_refused", "account_closed", nil)
	b.When(paymentapi.Refund{OrderKey: "goods-17", PaymentID: s.PaymentID, Reason: "damaged"})
	b.Then(paymentapi.Refunded{OrderKey: "goods-17"})
	b.ThenRow(`SELECT reason, ended_at IS NOT NULL FROM attention`, "refund_refused", true)
}
