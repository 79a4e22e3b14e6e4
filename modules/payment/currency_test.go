package payment

import (
	"net/http"
	"strings"
	"testing"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"millrace/modules/payment/gateway"
	"millrace/modules/payment/paymentapi"
)

// Open payments in a withdrawn currency can still complete, be refunded and be
// read. Only new payments are refused.
func TestPayment_InWithdrawnCurrencyCompletesAndIsRefunded(t *testing.T) {
	t.Parallel()
	b := setup(t)
	s := b.started("goods-17")
	_, err := b.exec(`UPDATE payments SET currency = 'BGN'`)
	require.NoError(t, err)

	r := b.result(s, gateway.Approved)
	r.Currency = "BGN"
	require.Equal(t, http.StatusNoContent, b.callback(r))
	b.Then(paymentapi.Completed{OrderKey: "goods-17", Currency: "BGN"})
	b.When(paymentapi.Refund{OrderKey: "goods-17", Reason: "changed my mind"})
	b.Then(paymentapi.Refunded{OrderKey: "goods-17", Currency: "BGN"})
	v := b.view(s)
	require.Equal(t, refunded, v.Status)
	require.Equal(t, 2, v.Decimals)
	require.Empty(t, b.DeadLetters())

	response := b.pay(uuid.NewString(), strings.Replace(bodyFor("goods-18"), "KRW", "BGN", 1))
	require.Equal(t, http.StatusUnprocessableEntity, response.Code)
	require.Contains(t, response.Body.String(), `"location":"body.currency"`)
}
