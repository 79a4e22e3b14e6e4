package simulator

import (
	"fmt"
	"io"
	"math"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"millrace/modules/payment/gateway"
	"millrace/platform/errs"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const secret = "the simulator's secret"

// receiver replaces the payment module: it verifies callbacks and answers as the
// module would.
type receiver struct {
	*httptest.Server
	mu      sync.Mutex
	results []gateway.Result // of accepted callbacks
	fail    int              // respond 503 to so many callbacks first
	amount  int64
}

func newReceiver(t *testing.T) *receiver {
	t.Helper()
	r := &receiver{amount: 1500}
	r.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		body, _ := io.ReadAll(req.Body)
		r.mu.Lock()
		defer r.mu.Unlock()
		if r.fail > 0 {
			r.fail--
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		h := req.Header
		err := gateway.Verify([][]byte{[]byte(secret)}, h.Get(gateway.HeaderID), h.Get(gateway.HeaderTimestamp), h.Get(gateway.HeaderSignature), body, time.Now())
		if err != nil {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		result, err := gateway.Decode(body)
		if err != nil || result.Amount != r.amount {
			w.WriteHeader(http.StatusUnprocessableEntity)
			return
		}
		r.results = append(r.results, result)
	}))
	t.Cleanup(r.Close)
	return r
}

// setup starts a simulator and a receiver of its callbacks.
func setup(t *testing.T) (*Simulator, *receiver, *gateway.Client) {
	t.Helper()
	r := newReceiver(t)
	s, err := New(Config{Seed: 1, Secret: secret, OldSecret: "the one before", Late: 10 * time.Millisecond})
	require.NoError(t, err)
	require.NoError(t, s.Start())
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	return s, r, gateway.NewClient(s.URL(), time.Minute)
}

// impatient returns a client for requests that get no response.
func impatient(s *Simulator) *gateway.Client { return gateway.NewClient(s.URL(), 2*time.Second) }

// orderWith returns the key of an order whose first charge has a wanted plan.
func orderWith(t *testing.T, wanted func(Plan) bool) string {
	t.Helper()
	for i := range 100_000 {
		if key := fmt.Sprintf("goods-%d", i); wanted(PlanFor(1, key, 1)) {
			return key
		}
	}
	t.Fatal("no order has such a plan")
	return ""
}

func chargeOf(order string, r *receiver) gateway.Charge {
	return gateway.Charge{TransactionKey: "tx-" + order, OrderKey: order, Amount: r.amount, Currency: "USD", Method: "card", CallbackURL: r.URL + "/callbacks/gateway"}
}

// settled waits until all callbacks are finished.
func settled(t *testing.T, s *Simulator) Book {
	t.Helper()
	require.Eventually(t, func() bool { return s.Book().Open == 0 }, 60*time.Second, time.Millisecond)
	return s.Book()
}

func TestPlanFor_IsDeterministicWithDocumentedShares(t *testing.T) {
	t.Parallel()
	const orders = 50_000
	counts := map[string]int{}
	for i := range orders {
		key := fmt.Sprintf("deposit-%d", i)
		p := PlanFor(7, key, 1)
		require.Equal(t, p, PlanFor(7, key, 1))
		counts[string(p.Status)]++
		counts[p.Answer]++
		counts[p.Callback]++
		counts[p.Refund]++
	}
	for name, share := range map[string]float64{
		string(gateway.Declined): .10, ServerErrorOnce: .08, TimeoutHidesSuccess: .072, CallbackFirst: .09, answerAtOnce: .15,
		Late: .08, Twice: .10, OutOfOrder: .09, Forged: .09, WrongAmount: .09, RefundErrorOnce: .15, RefundHidden: .15,
	} {
		require.InDelta(t, share, float64(counts[name])/orders, 4*math.Sqrt(share/orders), name)
	}
	// A fixed example, because a change of the function would change recorded runs.
	require.Equal(t, "{Status:APPROVED FailedReason: Answer: Callback: Refund: Delay:5.559ms}", fmt.Sprintf("%+v", PlanFor(1, "goods-1", 1)))
}

func TestPlanFor_TwoHundredOrdersMeetEveryMisbehaviour(t *testing.T) {
	t.Parallel()
	for seed := range uint64(200) {
		met := map[string]bool{}
		for i := range 200 {
			p := PlanFor(seed, fmt.Sprintf("goods-%d", i), 1)
			met[p.Answer], met[p.Callback], met[Declined] = true, true, met[Declined] || p.Status == gateway.Declined
		}
		for _, name := range ChargeMisbehaviours {
			require.True(t, met[name], "seed %d: %s", seed, name)
		}
	}
}

func TestSimulator_RetryAfterHiddenSuccessFindsTheSameCharge(t *testing.T) {
	t.Parallel()
	s, r, client := setup(t)
	asked := chargeOf(orderWith(t, func(p Plan) bool { return p.Answer == TimeoutHidesSuccess && p.Callback == "" }), r)
	_, err := impatient(s).Charge(t.Context(), asked)
	require.Equal(t, errs.Timeout, errs.KindOf(err))
	require.Eventually(t, func() bool { return s.Book().Misbehaviours[TimeoutHidesSuccess] == 1 }, time.Minute, time.Millisecond, "the simulator counted it")
	require.Equal(t, gateway.Approved, s.Book().Charges[0].Status, "the charge was made")
	require.Empty(t, s.Book().Charges[0].Callbacks, "no callback was sent")

	again, err := client.Charge(t.Context(), asked)
	require.NoError(t, err)
	require.Equal(t, gateway.Approved, again.Status)
	book := settled(t, s)
	require.Len(t, book.Charges, 1)
	require.Equal(t, 2, book.Charges[0].Asked)
	require.Equal(t, 1, book.Misbehaviours[TimeoutHidesSuccess])
	require.Len(t, r.results, 1)
}

func TestSimulator_LookupAfterHiddenSuccessFindsChargeAndCallsBack(t *testing.T) {
	t.Parallel()
	s, r, client := setup(t)
	asked := chargeOf(orderWith(t, func(p Plan) bool { return p.Answer == TimeoutHidesSuccess && p.Callback == "" }), r)
	_, err := client.Lookup(t.Context(), asked)
	require.ErrorIs(t, err, gateway.ErrNotThere)
	_, err = impatient(s).Charge(t.Context(), asked)
	require.Equal(t, errs.Timeout, errs.KindOf(err))
	found, err := client.Lookup(t.Context(), asked)
	require.NoError(t, err)
	require.Equal(t, gateway.Approved, found.Status)
	book := settled(t, s)
	require.Equal(t, 1, book.Charges[0].Asked)
	require.Equal(t, 1, book.Charges[0].LookedUp)
	require.Len(t, r.results, 1)
}

func TestSimulator_LookupOfUnacceptedRequestIsNotFound(t *testing.T) {
	t.Parallel()
	s, r, client := setup(t)
	asked := chargeOf(orderWith(t, func(p Plan) bool {
		return p.Answer == ServerErrorOnce && p.Refund == RefundErrorOnce && p.Status == gateway.Approved
	}), r)
	_, err := client.Charge(t.Context(), asked)
	require.Equal(t, errs.Resource, errs.KindOf(err))
	_, err = client.Lookup(t.Context(), asked)
	require.ErrorIs(t, err, gateway.ErrNotThere)
	_, err = client.Charge(t.Context(), asked)
	require.NoError(t, err)
	settled(t, s)
	refund := gateway.Refund{RefundID: "r-1", TransactionKey: asked.TransactionKey, Amount: asked.Amount, Currency: "USD"}
	_, err = client.Refund(t.Context(), refund)
	require.Equal(t, errs.Resource, errs.KindOf(err))
	_, err = client.LookupRefund(t.Context(), refund)
	require.ErrorIs(t, err, gateway.ErrNotThere)
	_, err = client.Refund(t.Context(), refund)
	require.NoError(t, err)
	found, err := client.LookupRefund(t.Context(), refund)
	require.NoError(t, err)
	require.Equal(t, gateway.Refunded, found.Status)
}

func TestSimulator_DashboardRefundsPartsAndCallsBack(t *testing.T) {
	t.Parallel()
	s, r, client := setup(t)
	asked := chargeOf(orderWith(t, func(p Plan) bool { return p.Answer == "" && p.Callback == "" && p.Status == gateway.Approved }), r)
	require.Error(t, s.Cancel(asked.TransactionKey, 1, ""))
	_, err := client.Charge(t.Context(), asked)
	require.NoError(t, err)
	settled(t, s)
	browser := &http.Client{Timeout: time.Minute, Transport: &http.Transport{}}
	defer browser.CloseIdleConnections()
	post := func(body string) int {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, s.URL()+"/dashboard/cancel", strings.NewReader(body))
		require.NoError(t, err)
		req.Header.Set("Content-Type", "application/json")
		res, err := browser.Do(req)
		require.NoError(t, err)
		require.NoError(t, res.Body.Close())
		return res.StatusCode
	}
	require.Equal(t, 202, post(`{"transactionKey":"`+asked.TransactionKey+`","amount":500}`))
	settled(t, s)
	require.Equal(t, 422, post(`{"transactionKey":"`+asked.TransactionKey+`","amount":1001}`), "more than is left")
	require.Equal(t, 202, post(`{"transactionKey":"`+asked.TransactionKey+`","status":"REFUNDED"}`))
	settled(t, s)
	require.Equal(t, []gateway.Status{gateway.Approved, gateway.PartialCanceled, gateway.Refunded}, []gateway.Status{r.results[0].Status, r.results[1].Status, r.results[2].Status})
	require.Equal(t, []int64{0, 500, 1500}, []int64{r.results[0].CanceledAmount, r.results[1].CanceledAmount, r.results[2].CanceledAmount})
	require.Equal(t, 2, s.Book().Misbehaviours[CanceledAtDashboard])
}

func TestSimulator_ServerErrorChargesNothingAndHappensOnce(t *testing.T) {
	t.Parallel()
	s, r, client := setup(t)
	asked := chargeOf(orderWith(t, func(p Plan) bool { return p.Answer == ServerErrorOnce }), r)
	_, err := client.Charge(t.Context(), asked)
	require.Equal(t, errs.Resource, errs.KindOf(err))
	require.Equal(t, gateway.Pending, s.Book().Charges[0].Status)
	second, err := client.Charge(t.Context(), asked)
	require.NoError(t, err)
	require.Equal(t, gateway.Pending, second.Status)
	require.NotEqual(t, gateway.Pending, settled(t, s).Charges[0].Status)
}

func TestSimulator_CallbackMayArriveBeforeResponse(t *testing.T) {
	t.Parallel()
	s, r, client := setup(t)
	_, err := client.Charge(t.Context(), chargeOf(orderWith(t, func(p Plan) bool { return p.Answer == CallbackFirst && p.Callback == "" }), r))
	require.NoError(t, err)
	require.Len(t, r.results, 1, "the callback arrived before the response")
	require.Equal(t, 1, s.Book().Misbehaviours[CallbackFirst])
}

func TestSimulator_CallbacksMisbehaveAsPlannedAndIncludeTrueResult(t *testing.T) {
	t.Parallel()
	for name, answers := range map[string][]int{
		"": {200}, Late: {200}, Twice: {200, 200}, OutOfOrder: {200, 200}, Forged: {401, 200}, WrongAmount: {422, 200},
	} {
		s, r, client := setup(t)
		plan := func(p Plan) bool { return p.Answer == "" && p.Callback == name && p.Status == gateway.Approved }
		_, err := client.Charge(t.Context(), chargeOf(orderWith(t, plan), r))
		require.NoError(t, err)
		book := settled(t, s)
		var got []int
		for _, c := range book.Charges[0].Callbacks {
			got = append(got, c.Answer)
			require.True(t, c.Done)
		}
		require.Equal(t, answers, got, name)
		if name != "" {
			require.Equal(t, 1, book.Misbehaviours[name])
		}
		require.Equal(t, gateway.Approved, r.results[0].Status)
		if name == OutOfOrder {
			require.Equal(t, gateway.Pending, r.results[1].Status)
		}
	}
}

func TestSimulator_RetriesCallbackUntilReceiverIsBack(t *testing.T) {
	t.Parallel()
	s, r, client := setup(t)
	r.fail = 3
	_, err := client.Charge(t.Context(), chargeOf(orderWith(t, func(p Plan) bool { return p == Plan{Status: p.Status, Delay: p.Delay, FailedReason: p.FailedReason} }), r))
	require.NoError(t, err)
	book := settled(t, s)
	require.Equal(t, 4, book.Charges[0].Callbacks[0].Tries)
	require.Equal(t, 200, book.Charges[0].Callbacks[0].Answer)
}

func TestSimulator_SecondChargeOfAnOrderIsSeparate(t *testing.T) {
	t.Parallel()
	s, r, client := setup(t)
	first := chargeOf(orderWith(t, func(p Plan) bool { return p.Answer == "" && p.Status == gateway.Declined }), r)
	_, err := client.Charge(t.Context(), first)
	require.NoError(t, err)
	changed := first
	changed.Amount++
	_, err = client.Charge(t.Context(), changed)
	require.Equal(t, "idempotency_key_reused", errs.FieldOf(err), "the same key with another body")

	second := first
	second.TransactionKey += "-2"
	_, _ = impatient(s).Charge(t.Context(), second) // the response depends on the plan
	book := s.Book()
	require.Len(t, book.Charges, 2)
	require.Equal(t, []int{1, 2}, []int{book.Charges[0].Attempt, book.Charges[1].Attempt})
}

func TestSimulator_RefundsOnceAndAtMostTheCapturedAmount(t *testing.T) {
	t.Parallel()
	for _, hidden := range []string{"", RefundErrorOnce, RefundHidden} {
		s, r, client := setup(t)
		plan := func(p Plan) bool { return p.Answer == "" && p.Status == gateway.Approved && p.Refund == hidden }
		asked := chargeOf(orderWith(t, plan), r)
		_, err := client.Charge(t.Context(), asked)
		require.NoError(t, err)
		refund := gateway.Refund{RefundID: "r-1", TransactionKey: asked.TransactionKey, Amount: asked.Amount, Currency: "USD"}
		first := client
		if hidden == RefundHidden {
			first = impatient(s)
		}
		_, err = first.Refund(t.Context(), refund)
		require.Equal(t, hidden != "", err != nil, hidden)
		for range 2 {
			got, err := client.Refund(t.Context(), refund)
			require.NoError(t, err)
			require.Equal(t, gateway.Refunded, got.Status)
		}
		refund.RefundID = "r-2"
		_, _ = first.Refund(t.Context(), refund) // the response depends on the plan
		over, err := client.Refund(t.Context(), refund)
		require.NoError(t, err)
		require.Equal(t, gateway.Refused, over.Status)
		require.Equal(t, asked.Amount, settled(t, s).Charges[0].Refunded)

		refund.TransactionKey = "nobody's"
		_, err = client.Refund(t.Context(), refund)
		require.Equal(t, errs.Invalid, errs.KindOf(err))
	}
}

func TestSimulator_ServesPageAndBook(t *testing.T) {
	t.Parallel()
	s, r, client := setup(t)
	_, err := client.Charge(t.Context(), chargeOf(orderWith(t, func(p Plan) bool { return p.Answer == "" }), r))
	require.NoError(t, err)
	settled(t, s)
	browser := &http.Client{Timeout: time.Minute, Transport: &http.Transport{}}
	for path, wants := range map[string]string{"/": "goods-", "/book": `"misbehaviours":{`} {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, s.URL()+path, nil)
		require.NoError(t, err)
		res, err := browser.Do(req)
		require.NoError(t, err)
		page, err := io.ReadAll(res.Body)
		require.NoError(t, err)
		require.NoError(t, res.Body.Close())
		require.Equal(t, http.StatusOK, res.StatusCode)
		require.True(t, strings.Contains(string(page), wants), path)
	}
	browser.CloseIdleConnections()
}

func TestSimulator_AllowsLoopbackAddressesOnly(t *testing.T) {
	t.Parallel()
	for _, address := range []string{"0.0.0.0:0", ":0", "192.0.2.1:80", "example.com:80"} {
		_, err := New(Config{Secret: secret, Address: address})
		require.ErrorContains(t, err, "loopback", address)
	}
	_, err := New(Config{})
	require.ErrorContains(t, err, "Secret")

	s, r, client := setup(t)
	outside := chargeOf("goods-1", r)
	outside.CallbackURL = "http://192.0.2.1:80/"
	_, err = client.Charge(t.Context(), outside)
	require.Equal(t, errs.Invalid, errs.KindOf(err))
	require.Empty(t, s.Book().Charges)
	for _, inside := range []string{"http://localhost/callbacks/gateway", "http://127.0.0.1/callbacks/gateway", "http://[::1]/callbacks/gateway"} {
		charge := chargeOf("goods-"+inside, r)
		charge.CallbackURL = inside // without a port
		_, err = client.Charge(t.Context(), charge)
		require.NotEqual(t, errs.Invalid, errs.KindOf(err), inside)
	}
}
