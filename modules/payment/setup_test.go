package payment

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"millrace/modules/payment/gateway"
	"millrace/platform/bus"
	"millrace/platform/bus/bustest"
)

const secret, olderSecret = "the secret in use", "the secret before it"

// fake is a gateway whose responses a test sets. By default it responds PENDING to
// charges and REFUNDED to refunds.
type fake struct {
	mu       sync.Mutex
	onCharge func(gateway.Charge) (gateway.Result, error)
	onRefund func(gateway.Refund) (gateway.RefundResult, error)
	onLookup func(gateway.Charge) (gateway.Result, error)       // default: ErrNotThere
	onFind   func(gateway.Refund) (gateway.RefundResult, error) // default: ErrNotThere
	charges  []gateway.Charge
	refunds  []gateway.Refund
	lookups  []gateway.Charge
	finds    []gateway.Refund
}

func (f *fake) Lookup(_ context.Context, c gateway.Charge) (gateway.Result, error) {
	f.mu.Lock()
	f.lookups = append(f.lookups, c)
	answer := f.onLookup
	f.mu.Unlock()
	if answer != nil {
		return answer(c)
	}
	return gateway.Result{}, gateway.ErrNotThere
}

func (f *fake) LookupRefund(_ context.Context, r gateway.Refund) (gateway.RefundResult, error) {
	f.mu.Lock()
	f.finds = append(f.finds, r)
	answer := f.onFind
	f.mu.Unlock()
	if answer != nil {
		return answer(r)
	}
	return gateway.RefundResult{}, gateway.ErrNotThere
}

func (f *fake) Charge(_ context.Context, c gateway.Charge) (gateway.Result, error) {
	f.mu.Lock()
	f.charges = append(f.charges, c)
	answer := f.onCharge
	f.mu.Unlock()
	if answer != nil {
		return answer(c)
	}
	return resultOf(c, gateway.Pending), nil
}

func (f *fake) Refund(_ context.Context, r gateway.Refund) (gateway.RefundResult, error) {
	f.mu.Lock()
	f.refunds = append(f.refunds, r)
	answer := f.onRefund
	f.mu.Unlock()
	if answer != nil {
		return answer(r)
	}
	return refundOf(r, gateway.Refunded), nil
}

func (f *fake) refundsAsked() []gateway.Refund {
	f.mu.Lock()
	defer f.mu.Unlock()
	return append([]gateway.Refund{}, f.refunds...)
}

func resultOf(c gateway.Charge, s gateway.Status) gateway.Result {
	return gateway.Result{TransactionKey: c.TransactionKey, OrderKey: c.OrderKey, Amount: c.Amount, Currency: c.Currency, Status: s}
}

func refundOf(r gateway.Refund, s gateway.Status) gateway.RefundResult {
	return gateway.RefundResult{RefundID: r.RefundID, TransactionKey: r.TransactionKey, Amount: r.Amount, Currency: r.Currency, Status: s}
}

// bundle is a running payment module with a fake gateway.
type bundle struct {
	*bustest.Harness
	t       *testing.T
	gateway *fake
	module  *Module
	db      *bus.DB
}

func setup(t *testing.T) *bundle {
	t.Helper()
	b := &bundle{t: t, gateway: &fake{}}
	b.Harness = bustest.Start(t, func(db *bus.DB) bustest.Module {
		b.db = db
		b.module = newModule(db, Config{
			Provider: "simulator", CallbackSecrets: []string{secret, olderSecret}, CallbackURL: "http://127.0.0.1:1/callbacks/gateway",
			GatewayTimeout: time.Second, StatusCheckAfter: time.Hour,
		}, b.gateway)
		return b.module
	})
	return b
}

func bodyFor(orderKey string) string {
	return fmt.Sprintf(`{"orderKey":%q,"userId":"user-9","amount":15000,"currency":"KRW","method":"card"}`, orderKey)
}

func (b *bundle) pay(key, body string) *httptest.ResponseRecorder {
	b.t.Helper()
	return b.Do("POST /payments", body, "Idempotency-Key: "+key)
}

// started pays for an order and waits until the gateway's PENDING is stored.
func (b *bundle) started(orderKey string) started {
	b.t.Helper()
	s := b.asked(orderKey)
	b.ThenRow(`SELECT count(*) FROM gateway_results WHERE transaction_key = '`+s.TransactionKey+`'`, 1)
	return s
}

// asked pays for an order.
func (b *bundle) asked(orderKey string) started {
	b.t.Helper()
	response := b.pay(uuid.NewString(), bodyFor(orderKey))
	require.Equal(b.t, http.StatusAccepted, response.Code, response.Body)
	var s started
	require.NoError(b.t, json.Unmarshal(response.Body.Bytes(), &s))
	return s
}

// result returns the body of a valid callback.
func (b *bundle) result(s started, status gateway.Status) gateway.Result {
	r := gateway.Result{TransactionKey: s.TransactionKey, OrderKey: s.OrderKey, Amount: 15000, Currency: "KRW", Status: status}
	if status == gateway.Declined {
		r.FailedReason = "insufficient_funds"
	}
	return r
}

// callback sends a signed callback and returns the HTTP status.
func (b *bundle) callback(r gateway.Result) int {
	b.t.Helper()
	body, err := json.Marshal(r)
	require.NoError(b.t, err)
	return b.send(uuid.NewString(), time.Now(), body, gateway.Sign([]byte(secret), "", time.Time{}, nil))
}

// send sends bytes as a callback. If signatures is the signature of an empty
// message, it is replaced by the right one.
func (b *bundle) send(id string, at time.Time, body []byte, signatures string) int {
	b.t.Helper()
	if signatures == gateway.Sign([]byte(secret), "", time.Time{}, nil) {
		signatures = gateway.Sign([]byte(secret), id, at, body)
	}
	return b.Do("POST /callbacks/gateway", string(body), gateway.HeaderID+": "+id,
		gateway.HeaderTimestamp+": "+strconv.FormatInt(at.Unix(), 10), gateway.HeaderSignature+": "+signatures).Code
}

// view reads a payment over HTTP.
func (b *bundle) view(s started) paymentView {
	b.t.Helper()
	var v paymentView
	require.NoError(b.t, json.Unmarshal(b.Given("GET /payments/"+s.PaymentID, "").Body.Bytes(), &v))
	return v
}

// hash returns a checksum of all rows of all tables of the schema. It leaves out
// which node works on a partition, because the transport may change that anytime.
func (b *bundle) hash() string {
	b.t.Helper()
	rows, err := b.db.QueryContext(b.t.Context(), `SELECT table_name FROM information_schema.tables
		WHERE table_schema = 'payment' AND table_type = 'BASE TABLE' ORDER BY 1`)
	require.NoError(b.t, err)
	defer rows.Close()
	var parts []string
	for rows.Next() {
		var name, sum string
		require.NoError(b.t, rows.Scan(&name))
		table := fmt.Sprintf("%q", name)
		if name == "offsets" {
			table = "(SELECT subscriber, topic, partition, committed_offset FROM offsets)"
		}
		require.NoError(b.t, b.db.QueryRowContext(b.t.Context(),
			`SELECT count(*) || ':' || md5(coalesce(string_agg(t::text, '|' ORDER BY t::text), '')) FROM `+table+` t`).Scan(&sum))
		parts = append(parts, name+"="+sum)
	}
	require.NoError(b.t, rows.Err())
	require.Contains(b.t, strings.Join(parts, " "), "payment_history=")
	return strings.Join(parts, "\n")
}

func (b *bundle) inTx(f func(*bus.Tx) error) error { return b.db.InTx(b.t.Context(), f) }

// exec changes tables directly, bypassing the module.
func (b *bundle) exec(query string, args ...any) (n int64, err error) {
	err = b.inTx(func(tx *bus.Tx) error {
		result, err := tx.ExecContext(b.t.Context(), query, args...)
		if err != nil {
			return err
		}
		n, err = result.RowsAffected()
		return err
	})
	return n, err
}

// count counts the rows of a table; from may include a WHERE clause.
func (b *bundle) count(from string) (n int) {
	b.t.Helper()
	require.NoError(b.t, b.db.QueryRowContext(b.t.Context(), `SELECT count(*) FROM `+from).Scan(&n))
	return n
}

// resultOfLookup applies the result of a lookup: the charge is approved.
func resultOfLookup(b *bundle, s started) func(*bus.Tx) error {
	return func(tx *bus.Tx) error {
		return b.module.service.result(b.t.Context(), tx, receivedResult{Result: b.result(s, gateway.Approved), source: byLookup})
	}
}
