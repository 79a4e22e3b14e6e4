package payment

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"millrace/modules/payment/gateway"
	"millrace/modules/payment/gateway/simulator"
	"millrace/modules/payment/paymentapi"
	"millrace/platform/bus"
	"millrace/platform/bus/bustest"
)

// simulated starts the payment module and the misbehaving gateway. Every seventh
// callback is handled but its response is lost; every eleventh is not handled.
func simulated(t *testing.T) (*bundle, *simulator.Simulator) {
	t.Helper()
	var b *bundle
	var calls atomic.Int64
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		n := calls.Add(1)
		if n%11 == 0 {
			panic(http.ErrAbortHandler)
		}
		var headers []string
		for name := range r.Header {
			headers = append(headers, name+": "+r.Header.Get(name))
		}
		response := b.Do("POST "+r.URL.Path, string(body), headers...)
		if n%7 == 0 {
			panic(http.ErrAbortHandler)
		}
		w.WriteHeader(response.Code)
	}))
	t.Cleanup(server.Close)
	s, err := simulator.New(simulator.Config{Seed: 3, Secret: secret, OldSecret: olderSecret, CallbackURL: server.URL + "/callbacks/gateway", Late: 200 * time.Millisecond})
	require.NoError(t, err)
	require.NoError(t, s.Start())
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	b = &bundle{t: t}
	b.Harness = bustest.Start(t, func(db *bus.DB) bustest.Module {
		b.db = db
		return New(db, Config{Provider: "simulator", GatewayURL: s.URL(), GatewayTimeout: time.Second, StatusCheckAfter: time.Minute, CallbackURL: "http://127.0.0.1:1/", CallbackSecrets: []string{secret}})
	})
	return b, s
}

// Guarantee S6: at most one successful charge per order, also after a time-out
// that hid a success. The simulator's book is the reference. Guarantee S1: each
// completed payment has exactly one payment.completed in the event log.
func TestSimulated_BooksAgreeDespiteMisbehaviour(t *testing.T) {
	t.Parallel()
	b, s := simulated(t)
	const orders = 200
	var paying sync.WaitGroup
	for i := range orders {
		paying.Go(func() {
			key := fmt.Sprintf("goods-%d", i)
			if code := b.pay("key-"+key, bodyFor(key)).Code; code != http.StatusAccepted {
				t.Errorf("%s: %d", key, code)
			}
		})
	}
	paying.Wait()
	require.Eventually(t, func() bool {
		book := s.Book()
		return len(book.Charges) == orders && book.Open == 0
	}, 60*time.Second, 20*time.Millisecond, "every callback is answered")
	b.ThenRow(`SELECT count(*) FROM payments WHERE status = 'pending'`, 0)
	b.ThenRow(`SELECT count(*) FROM outbound_calls WHERE state <> 'succeeded'`, 0)

	book := s.Book()
	approved := map[string]int{}
	captured := int64(0)
	for _, c := range book.Charges {
		if c.Status == gateway.Approved {
			approved[c.OrderKey]++
			captured += c.Amount
		}
		require.Equal(t, 1, c.Attempt, "the order was charged by one charge")
		if simulator.PlanFor(3, c.OrderKey, 1).Answer == simulator.TimeoutHidesSuccess {
			require.GreaterOrEqual(t, c.LookedUp, 1, "the time-out was looked up")
			require.Equal(t, 1, c.Asked, "and not asked for again")
		}
		for _, callback := range c.Callbacks {
			want := map[string]int{simulator.Forged: 401, simulator.WrongAmount: 422}[callback.Kind]
			if want == 0 {
				want = 204
			}
			require.Equal(t, want, callback.Answer, "%s %s", c.OrderKey, callback.Kind)
		}
	}
	for _, name := range simulator.ChargeMisbehaviours {
		require.Positive(t, book.Misbehaviours[name], name)
	}
	for order, n := range approved {
		require.Equal(t, 1, n, order)
		b.ThenRow(`SELECT status, captured FROM payments WHERE order_key = '`+order+`'`, "completed", 15000)
	}
	b.ThenRow(`SELECT count(*), sum(captured) FROM payments WHERE status = 'completed'`, len(approved), captured)
	b.ThenRow(`SELECT count(*), count(DISTINCT key) FROM log WHERE type = 'payment.completed'`, len(approved), len(approved))
	b.ThenRow(`SELECT count(*), count(DISTINCT key) FROM log WHERE type = 'payment.failed'`, orders-len(approved), orders-len(approved))
	b.ThenRow(everyChangeHasItsHistory, 0)
	b.ThenRow(`SELECT count(*) FROM gateway_results WHERE verdict IN ('contradiction', 'unknown')`, 0)

	// Refund every payment.
	refunds := make([]any, 0, orders)
	for order := range approved {
		refunds = append(refunds, paymentapi.Refund{OrderKey: order, Reason: "test"})
	}
	b.When(refunds...)
	b.ThenRow(`SELECT count(*), sum(refunded) FROM payments WHERE status = 'refunded'`, len(approved), captured)
	back := int64(0)
	for _, c := range s.Book().Charges {
		back += c.Refunded
	}
	require.Equal(t, captured, back)
	require.Len(t, s.Book().Refunds, len(approved))
	b.ThenRow(`SELECT count(*), count(DISTINCT key) FROM log WHERE type = 'payment.refunded'`, len(approved), len(approved))
	require.Empty(t, b.DeadLetters())
}

// Misbehaviour that happens on request only: a proxy responds after a time-out
// that hid a success, a decline is followed by an approval, and money is returned
// at the dashboard.
func TestSimulated_BooksAgreeAfterProvokedMisbehaviour(t *testing.T) {
	t.Parallel()
	plans := map[string]simulator.Plan{
		"goods-proxy":     {Status: gateway.Approved, Answer: simulator.ProxyAfterTimeout},
		"goods-late":      {Status: gateway.Approved, Callback: simulator.DeclinedThenApproved},
		"goods-dashboard": {Status: gateway.Approved},
		"goods-part":      {Status: gateway.Approved},
	}
	var b *bundle
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		var headers []string
		for name := range r.Header {
			headers = append(headers, name+": "+r.Header.Get(name))
		}
		w.WriteHeader(b.Do("POST "+r.URL.Path, string(body), headers...).Code)
	}))
	t.Cleanup(server.Close)
	s, err := simulator.New(simulator.Config{
		Secret: secret, CallbackURL: server.URL + "/callbacks/gateway", Late: 200 * time.Millisecond,
		Plan: func(_ uint64, order string, _ int) simulator.Plan { return plans[order] },
	})
	require.NoError(t, err)
	require.NoError(t, s.Start())
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	b = &bundle{t: t}
	b.Harness = bustest.Start(t, func(db *bus.DB) bustest.Module {
		b.db = db
		return New(db, Config{Provider: "simulator", GatewayURL: s.URL(), GatewayTimeout: time.Second, StatusCheckAfter: time.Minute, CallbackURL: "http://127.0.0.1:1/", CallbackSecrets: []string{secret}})
	})
	keys := map[string]string{}
	for order := range plans {
		keys[order] = b.asked(order).TransactionKey
	}
	b.ThenRow(`SELECT count(*) FROM payments WHERE status = 'completed'`, len(plans))
	require.NoError(t, s.Cancel(keys["goods-dashboard"], 0, ""))
	require.NoError(t, s.Cancel(keys["goods-part"], 4000, ""))
	b.ThenRow(`SELECT string_agg(order_key || ' ' || status || ' ' || refunded, ', ' ORDER BY order_key) FROM payments`,
		"goods-dashboard refunded 15000, goods-late completed 0, goods-part completed 4000, goods-proxy completed 0")
	b.ThenRow(`SELECT string_agg(reason, ',' ORDER BY reason) FROM attention WHERE ended_at IS NULL`, "late_success,partial_cancel,provider_refund")
	for _, c := range s.Book().Charges {
		b.ThenRow(`SELECT captured, refunded FROM payments WHERE order_key = '`+c.OrderKey+`'`, c.Amount, c.Refunded)
		require.Equal(t, 1, c.Asked, c.OrderKey)
	}
	for _, name := range simulator.ProvokedMisbehaviours {
		require.Positive(t, s.Book().Misbehaviours[name], name)
	}
	b.ThenRow(`SELECT count(*) FROM log WHERE type = 'payment.failed'`, 1)
	b.ThenRow(everyChangeHasItsHistory, 0)
}
