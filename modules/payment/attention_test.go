package payment

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"millrace/modules/payment/gateway"
)

func TestAttention_ItemKeepsAllDetails(t *testing.T) {
	t.Parallel()
	b := setup(t)
	s := b.paid("goods-17")
	for _, reported := range []gateway.Status{"CHARGEBACK", "DISPUTED", "CHARGEBACK", "VOIDED", gateway.Declined, gateway.Expired, gateway.Refused, gateway.Declined} {
		require.Equal(t, 204, b.callback(b.result(s, reported)))
	}
	items := b.view(s).NeedsAttention
	require.Len(t, items, 2)
	require.Equal(t, "CHARGEBACK; DISPUTED; VOIDED", items[0].Detail)
	require.Equal(t, "DECLINED of a payment that is completed; EXPIRED of a payment that is completed; REFUSED of a payment that is completed", items[1].Detail)
}

func TestAttention_DetailsAreBounded(t *testing.T) {
	t.Parallel()
	b := setup(t)
	s := b.paid("goods-17")
	for i := range 60 {
		require.Equal(t, 204, b.callback(b.result(s, gateway.Status("X"+strings.Repeat("A", i%30)+strings.Repeat("B", i/30)))))
	}
	items := b.view(s).NeedsAttention
	require.Len(t, items, 1)
	require.True(t, strings.HasPrefix(items[0].Detail, "X; XA; XAA; "), items[0].Detail)
	require.True(t, strings.HasSuffix(items[0].Detail, "; more"), items[0].Detail)
	require.Less(t, len(items[0].Detail), maxDetail+10)
}
