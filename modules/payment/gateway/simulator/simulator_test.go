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

// receiver stands in for the payment module: it verifies what it is told, and
// answers as a strict receiver would.
type receiver struct {
	*httptest.Server
	mu     sync.Mutex
	heard  []gateway.Result // verified, with the right amount
	fail   int              // answer 503 to so many first
	amount int64
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
		r.heard = append(r.heard, result)
	}))
	t.Cleanup(r.Close)
	return r
}

// setup starts a simulator that calls back a receiver.
func setup(t *testing.T) (*Simulator, *receiver, *gateway.Client) {
	t.Helper()
	r := newReceiver(t)
	s, err := New(Config{Seed: 1, Secret: secret, OldSecret: "the one before", Late: 10 * time.Millisecond})
	require.NoError(t, err)
	require.NoError(t, s.Start())
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	return s, r, gateway.NewClient(s.URL(), time.Minute)
}

// impatient is a client for what is never answered.
func impatient(s *Simulator) *gateway.Client { return gateway.NewClient(s.URL(), 2*time.Second) }

// orderWith finds an order whose first charge is treated as wanted.
func orderWith(t *testing.T, wanted func(Plan) bool) string {
	t.Helper()
	for i := range 100_000 {
		if key := fmt.Sprintf("goods-%d", i); wanted(PlanFor(1, key, 1)) {
			return key
		}
	}
	t.Fatal("no order is treated so")
	return ""
}

func chargeOf(order string, r *receiver) gateway.Charge {
	return gateway.Charge{TransactionKey: "tx-" + order, OrderKey: order, Amount: r.amount, Currency: "USD", Method: "card", CallbackURL: r.URL + "/callbacks/gateway"}
}

// settled waits until every callback has been answered for good.
func settled(t *testing.T, s *Simulator) Book {
	t.Helper()
	require.Eventually(t, func() bool { return s.Book().Open == 0 }, 60*time.Second, time.Millisecond)
	return s.Book()
}

func TestThePlanIsAPureFunctionWithKnownShares(t *testing.T) {
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
	// Written down: a change of the function would change every recorded run.
	require.Equal(t, "{Status:APPROVED FailedReason: Answer: Callback: Refund: Delay:5.559ms}", fmt.Sprintf("%+v", PlanFor(1, "goods-1", 1)))
}

func TestTwoHundredOrdersMeetEveryMisbehaviour(t *testing.T) {
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

func TestATimeoutHidesASuccessAndAskingAgainFindsTheSameCharge(t *testing.T) {
	t.Parallel()
	s, r, client := setup(t)
	asked := chargeOf(orderWith(t, func(p Plan) bool { return p.Answer == TimeoutHidesSuccess && p.Callback == "" }), r)
	_, err := impatient(s).Charge(t.Context(), asked)
	require.Equal(t, errs.Timeout, errs.KindOf(err))
	require.Eventually(t, func() bool { return s.Book().Misbehaviours[TimeoutHidesSuccess] == 1 }, time.Minute, time.Millisecond, "it has noticed")
	require.Equal(t, gateway.Approved, s.Book().Charges[0].Status, "the money was taken")
	require.Empty(t, s.Book().Charges[0].Callbacks, "and nobody told us")

	again, err := client.Charge(t.Context(), asked)
	require.NoError(t, err)
	require.Equal(t, gateway.Approved, again.Status)
	book := settled(t, s)
	require.Len(t, book.Charges, 1)
	require.Equal(t, 2, book.Charges[0].Asked)
	require.Equal(t, 1, book.Misbehaviours[TimeoutHidesSuccess])
	require.Len(t, r.heard, 1)
}

func TestAServerErrorChargesNothingAndComesOnce(t *testing.T) {
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

func TestTheCallbackMayComeBeforeTheAnswer(t *testing.T) {
	t.Parallel()
	s, r, client := setup(t)
	_, err := client.Charge(t.Context(), chargeOf(orderWith(t, func(p Plan) bool { return p.Answer == CallbackFirst && p.Callback == "" }), r))
	require.NoError(t, err)
	require.Len(t, r.heard, 1, "it was heard when the answer came")
	require.Equal(t, 1, s.Book().Misbehaviours[CallbackFirst])
}

func TestCallbacksMisbehaveAsPlannedAndTheTruthArrives(t *testing.T) {
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
		require.Equal(t, gateway.Approved, r.heard[0].Status)
		if name == OutOfOrder {
			require.Equal(t, gateway.Pending, r.heard[1].Status)
		}
	}
}

func TestACallbackIsTriedUntilTheReceiverIsBack(t *testing.T) {
	t.Parallel()
	s, r, client := setup(t)
	r.fail = 3
	_, err := client.Charge(t.Context(), chargeOf(orderWith(t, func(p Plan) bool { return p == Plan{Status: p.Status, Delay: p.Delay, FailedReason: p.FailedReason} }), r))
	require.NoError(t, err)
	book := settled(t, s)
	require.Equal(t, 4, book.Charges[0].Callbacks[0].Tries)
	require.Equal(t, 200, book.Charges[0].Callbacks[0].Answer)
}

func TestAnOrdersSecondChargeIsAnotherCharge(t *testing.T) {
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
	_, _ = impatient(s).Charge(t.Context(), second) // whatever its plan answers
	book := s.Book()
	require.Len(t, book.Charges, 2)
	require.Equal(t, []int{1, 2}, []int{book.Charges[0].Attempt, book.Charges[1].Attempt})
}

func TestARefundIsMadeOnceAndNeverMoreThanWasCaptured(t *testing.T) {
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
		_, _ = first.Refund(t.Context(), refund) // it may be treated as the plan says
		over, err := client.Refund(t.Context(), refund)
		require.NoError(t, err)
		require.Equal(t, gateway.Refused, over.Status)
		require.Equal(t, asked.Amount, settled(t, s).Charges[0].Refunded)

		refund.TransactionKey = "nobody's"
		_, err = client.Refund(t.Context(), refund)
		require.Equal(t, errs.Invalid, errs.KindOf(err))
	}
}

func TestThePageAndTheBookCanBeRead(t *testing.T) {
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

func TestItServesLoopbackOnly(t *testing.T) {
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
}
