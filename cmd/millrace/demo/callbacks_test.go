package demo

import (
	"context"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"millrace/modules/payment/gateway"
	"millrace/modules/payment/gateway/simulator"
)

// callbacksTo makes callbacks to a stand-in for the program, which answers the nth
// request with answer(n). With changes, its tables change with every callback.
func callbacksTo(t *testing.T, changes bool, answer func(n int64) int) *callbacks {
	t.Helper()
	var requests atomic.Int64
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(answer(requests.Add(1))) }))
	t.Cleanup(server.Close)
	charge := simulator.Charge{
		TransactionKey: "tx-1", OrderKey: "goods-1", Amount: 1000, Currency: "KRW", Status: gateway.Approved,
		Callbacks: []simulator.Callback{{ID: "msg_1"}},
	}
	return &callbacks{
		target: server.URL, secret: []byte("a secret of at least twenty-four bytes"), book: simulator.Book{Charges: []simulator.Charge{charge}},
		hash: func(context.Context) (map[string]string, error) {
			if changes {
				return map[string]string{"payment.payments": string(rune('a' + requests.Load()))}, nil
			}
			return map[string]string{"payment.payments": "same"}, nil
		},
	}
}

func always(status int) func(int64) int { return func(int64) int { return status } }

func TestCheckS7_FailsWhenForgedCallbackIsAcceptedOrStored(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		changes bool
		answer  func(int64) int
		red     bool
	}{
		"refused, and nothing changes": {false, always(http.StatusUnauthorized), false},
		"taken":                        {false, always(http.StatusNoContent), true},
		"an error of the program":      {false, always(http.StatusInternalServerError), true},
		"refused, and stored":          {true, always(http.StatusUnauthorized), true},
	} {
		f, err := callbacksTo(t, c.changes, c.answer).refused(t.Context())
		require.NoError(t, err)
		require.Equal(t, c.red, len(f.Offenders) > 0, "%s: %v", name, f.Offenders)
	}
}

func TestCheckS8_FailsWhenCopyIsAnsweredDifferentlyOrStored(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		changes bool
		answer  func(int64) int
		red     bool
	}{
		"taken each time":     {false, always(http.StatusNoContent), false},
		"refused each time":   {false, always(http.StatusConflict), true},
		"another one at last": {false, func(n int64) int { return map[bool]int{true: 200, false: 204}[n == 3] }, true},
		"taken, and stored":   {true, always(http.StatusNoContent), true},
	} {
		f, err := callbacksTo(t, c.changes, c.answer).repeated(t.Context())
		require.NoError(t, err)
		require.Equal(t, c.red, len(f.Offenders) > 0, "%s: %v", name, f.Offenders)
	}
}
