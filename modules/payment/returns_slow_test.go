//go:build slow

package payment

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"millrace/modules/payment/gateway"
	"millrace/modules/payment/paymentapi"
)

// Each order of the parts starts the module: half a minute in all.

func TestProviderReturns_PartsAddUpInAnyOrder(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		reports []report
		want    int64
	}{
		"SmallerPartSecond":       {[]report{partOf(3000), partOf(2000)}, 5000},
		"LargerPartSecond":        {[]report{partOf(3000), partOf(5000)}, 8000},
		"TwoEqualParts":           {[]report{partOf(3000), partOf(3000)}, 6000},
		"PartsOfWholeAmount":      {[]report{partOf(7500), partOf(7500)}, 15000},
		"Totals":                  {[]report{totalOf(3000), totalOf(5000), totalOf(5000)}, 5000},
		"TotalThenPart":           {[]report{totalOf(4000), partOf(11000)}, 15000},
		"RefundedWithRest":        {[]report{totalOf(3000), allWith(12000)}, 15000},
		"RefundedWithRestOfParts": {[]report{partOf(3000), partOf(2000), allWith(10000)}, 15000},
		"RefundedWithFullAmount":  {[]report{partOf(3000), allWith(15000)}, 15000},
		"CanceledWithRest":        {[]report{partOf(3000), {status: gateway.Canceled, amount: 12000}}, 15000},
	} {
		for _, backwards := range []bool{false, true} {
			t.Run(fmt.Sprint(name, "/Backwards=", backwards), func(t *testing.T) {
				t.Parallel()
				b := setup(t)
				s := b.paid("goods-17")
				for i := range c.reports {
					r := c.reports[i]
					if backwards {
						r = c.reports[len(c.reports)-1-i]
					}
					require.Equal(t, 204, b.report(s, r))
				}
				if c.want == 15000 {
					b.Then(paymentapi.Refunded{PaymentID: s.PaymentID, Amount: 15000})
				}
				v := b.view(s)
				require.Equal(t, c.want, v.Refunded)
				require.Equal(t, c.want == 15000, v.Status == refunded)
				require.NotEmpty(t, v.NeedsAttention)
				b.ThenRow(everyChangeHasItsHistory, 0)
				b.ThenNothing()
			})
		}
	}
}
