package paymentapi

import (
	"encoding/json"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// The golden files are the wire format that other programs and messages in the
// event log rely on. Fields may be added; nothing else may change.
func TestMessages_MatchGoldenFiles(t *testing.T) {
	t.Parallel()
	at := time.Date(2026, 3, 2, 4, 5, 6, 789000000, time.UTC)
	const payment, refund = "0195a3f0-0000-7000-8000-000000000001", "0195a3f0-0000-7000-8000-000000000002"
	for file, message := range map[string]any{
		"payment.completed.json": Completed{PaymentID: payment, OrderKey: "goods-17", OrderKind: Goods, UserID: "user-9", Amount: 15000, Currency: "KRW", Provider: "simulator", TransactionKey: "tx-1", OccurredAt: at},
		"payment.failed.json":    Failed{PaymentID: payment, OrderKey: "deposit-42", OrderKind: Deposit, UserID: "9", Amount: 1500, Currency: "USD", Provider: "simulator", TransactionKey: "tx-1", FailedReason: "insufficient_funds", OccurredAt: at},
		"payment.refunded.json":  Refunded{PaymentID: payment, OrderKey: "goods-17", OrderKind: Goods, UserID: "user-9", Amount: 15000, Currency: "KRW", Provider: "simulator", TransactionKey: "tx-1", RefundID: refund, Reason: AddressNotServed, OccurredAt: at},
		"payment.refund.json":    Refund{OrderKey: "goods-17", Reason: AddressNotServed, RequestID: "req-1"},
	} {
		golden, err := os.ReadFile(filepath.Join("testdata", file))
		require.NoError(t, err)
		wire, err := json.MarshalIndent(message, "", "  ")
		require.NoError(t, err)
		require.Equal(t, string(golden), string(wire)+"\n", file)

		back := reflect.New(reflect.TypeOf(message))
		require.NoError(t, json.Unmarshal(golden, back.Interface()))
		require.Equal(t, message, back.Elem().Interface(), file)
	}
}

func TestKindOf_AcceptsValidOrderKeysOnly(t *testing.T) {
	t.Parallel()
	long := "goods-" + strings.Repeat("x", 60)
	for key, want := range map[string]OrderKind{
		"goods-17": Goods, "goods-A-b-9": Goods, "deposit-42": Deposit, "goods--": Goods,
		"": "", "goods": "", "goods-": "", "-17": "", "Goods-17": "", "gift-1": "", "deposit-9223372036854775807": Deposit,
		"deposit-abc": "", "deposit-0": "", "deposit--1": "", "deposit-017": "", "deposit-1-2": "", "deposit-99999999999999999999": "", "deposit-9223372036854775808": "", "deposit-": "",
		"goods-ä": "", "goods-1 ": "", "goods-1\n": "", long: "",
	} {
		kind, ok := KindOf(key)
		require.Equal(t, want != "", ok, "%q", key)
		if ok {
			require.Equal(t, want, kind, "%q", key)
		}
	}
}
