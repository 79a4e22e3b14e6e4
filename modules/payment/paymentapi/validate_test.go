package paymentapi

import (
	"encoding/json"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// messages validates each kind of message and returns the errors by name. The
// messages are the golden ones with the fields in patch.
func messages(t *testing.T, patch string) map[string]error {
	t.Helper()
	all := map[string]error{}
	for file, m := range map[string]interface{ Validate() error }{
		"payment.completed": &Completed{}, "payment.failed": &Failed{}, "payment.refunded": &Refunded{}, "payment.refund": &Refund{},
	} {
		golden, err := os.ReadFile("testdata/" + file + ".json")
		require.NoError(t, err)
		require.NoError(t, json.Unmarshal(golden, m))
		if file == "payment.failed" && strings.Contains(patch, "goods-") { // its golden order is a deposit
			require.NoError(t, json.Unmarshal([]byte(`{"orderKind":"goods"}`), m))
		}
		require.NoError(t, json.Unmarshal([]byte(patch), m))
		all[file] = m.Validate()
	}
	return all
}

func TestValidate_NamesFieldsWithoutQuotingValues(t *testing.T) {
	t.Parallel()
	for patch, field := range map[string]string{
		`{"amount":-5}`:                  "amount",
		`{"amount":0}`:                   "amount",
		`{"amount":null}`:                "", // keeps the golden amount
		`{"amount":1}`:                   "",
		`{"amount":999999999999}`:        "",
		`{"amount":1000000000000}`:       "amount",
		`{"amount":9000000000000000000}`: "amount",
		`{"currency":"BGN"}`:             "", // withdrawn, but in old messages
		`{"currency":"JPY"}`:             "",
		`{"currency":"krw"}`:             "currency",
		`{"currency":"KRW "}`:            "currency",
		`{"currency":"₩"}`:               "currency",
		`{"currency":"XAU"}`:             "currency",
		`{"currency":""}`:                "currency",
		`{"userId":""}`:                  "userId",
		`{"userId":"canary text"}`:       "userId",
		`{"userId":"01012345678"}`:       "", // a rule for new payments only
		`{"userId":".."}`:                "",
		`{"paymentId":""}`:               "paymentId",
		`{"paymentId":"canary\nline"}`:   "paymentId",
		`{"orderKind":"gift"}`:           "orderKind",
		`{"orderKind":""}`:               "orderKind",
	} {
		for name, err := range messages(t, patch) {
			if field == "" || name == "payment.refund" {
				require.NoError(t, err, "%s %s", name, patch)
				continue
			}
			require.ErrorContains(t, err, field+": ", "%s %s", name, patch)
			require.NotContains(t, err.Error(), "canary")
		}
	}
	for _, key := range []string{"", "goods-", "gift-1", "goods-canary ", "deposit-0", "deposit-x", "deposit-007", strings.Repeat("goods-1", 20)} {
		patch, err := json.Marshal(map[string]string{"orderKey": key})
		require.NoError(t, err)
		for name, err := range messages(t, string(patch)) {
			require.ErrorContains(t, err, "orderKey: ", "%s %q", name, key)
			require.NotContains(t, err.Error(), "canary")
		}
	}
	err := Completed{}.Validate()
	for _, field := range []string{"paymentId", "orderKey", "userId", "amount", "currency"} {
		require.ErrorContains(t, err, field+": ", "all invalid fields are named")
	}
}
