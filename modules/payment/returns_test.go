package payment

import (
	"encoding/json"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"millrace/modules/payment/gateway"
	"millrace/platform/bus"
)

// report is a callback about returned money.
type report struct {
	id               string // webhook-id; "" for a unique one
	status           gateway.Status
	amount, canceled int64
}

func (b *bundle) report(s started, r report) int {
	b.t.Helper()
	result := b.result(s, r.status)
	result.Amount, result.CanceledAmount = r.amount, r.canceled
	body, err := json.Marshal(result)
	require.NoError(b.t, err)
	if r.id == "" {
		r.id = uuid.NewString()
	}
	now := time.Now()
	return b.send(r.id, now, body, gateway.Sign([]byte(secret), r.id, now, body))
}

func partOf(amount int64) report { return report{status: gateway.PartialCanceled, amount: amount} }

func totalOf(canceled int64) report {
	return report{status: gateway.PartialCanceled, amount: 15000, canceled: canceled}
}

func allWith(amount int64) report { return report{status: gateway.Refunded, amount: amount} }

const openItems = `SELECT coalesce(string_agg(reason, ',' ORDER BY reason), '') FROM attention WHERE ended_at IS NULL`

func TestProviderReturns_CopiesOfAPartCountOnce(t *testing.T) {
	t.Parallel()
	b := setup(t)
	s := b.paid("goods-17")
	r := partOf(3000)
	r.id = "one"
	require.Equal(t, 204, b.report(s, r))
	before := b.hash()
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			if code := b.report(s, r); code != 204 {
				t.Errorf("a copy: %d", code)
			}
		})
	}
	all.Wait()
	require.Equal(t, before, b.hash())
	require.Equal(t, int64(3000), b.view(s).Refunded)

	other := b.paid("goods-18")
	require.Equal(t, 204, b.report(other, r), "the id counts per charge")
	require.Equal(t, int64(3000), b.view(other).Refunded)
}

func TestProviderReturns_ConcurrentPartsAllCount(t *testing.T) {
	t.Parallel()
	b := setup(t)
	s := b.paid("goods-17")
	var all sync.WaitGroup
	for i, amount := range []int64{1000, 2000, 1000, 3000, 500, 1500, 4000, 1000} { // 14,000
		for range 2 { // each part and one copy
			all.Go(func() {
				if code := b.report(s, report{id: fmt.Sprint("id-", i), status: gateway.PartialCanceled, amount: amount}); code != 204 {
					t.Errorf("%d: %d", amount, code)
				}
			})
		}
	}
	all.Wait()
	require.Equal(t, int64(14000), b.view(s).Refunded)
	b.ThenRow(everyChangeHasItsHistory, 0)
}

func TestProviderReturns_ContradictoryReportsAreLimitedAndListed(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		reports []report
		want    int64
		open    string
	}{
		"PartsExceedCaptured":     {[]report{partOf(8000), partOf(8000)}, 15000, "contradiction,partial_cancel,provider_refund"},
		"RefundedWithOtherAmount": {[]report{partOf(3000), allWith(5000)}, 3000, "contradiction,partial_cancel"},
		"PartAfterFullReturn":     {[]report{allWith(15000), partOf(2000)}, 15000, "contradiction,provider_refund"},
		"SameIDWithOtherAmount":   {[]report{{"x", gateway.PartialCanceled, 3000, 0}, {"x", gateway.PartialCanceled, 5000, 0}}, 3000, "contradiction,partial_cancel"},
		"PartWithAmountOfCharge":  {[]report{partOf(15000)}, 0, "partial_cancel"},
		"TotalBelowReportedPart":  {[]report{partOf(12000), totalOf(8000)}, 15000, "contradiction,partial_cancel,provider_refund"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setup(t)
			s := b.paid("goods-17")
			for _, r := range c.reports {
				require.Equal(t, 204, b.report(s, r))
			}
			require.Equal(t, c.want, b.view(s).Refunded)
			b.ThenRow(openItems, c.open)
			b.ThenRow(everyChangeHasItsHistory, 0)
		})
	}
}

func TestProviderReturns_FurtherReturnNeedsAttentionAgain(t *testing.T) {
	t.Parallel()
	b := setup(t)
	s := b.paid("goods-17")
	acknowledge := func() {
		_, err := b.exec(`UPDATE attention SET ended_at = now(), ended_by = 'kim', ended_why = 'seen' WHERE ended_at IS NULL`)
		require.NoError(t, err)
		b.ThenRow(openItems, "")
	}
	for _, c := range []struct {
		report
		open string
	}{
		{partOf(3000), "partial_cancel"},
		{partOf(3000), "partial_cancel"},
		{partOf(15000), "partial_cancel"}, // the amount is unknown
		{partOf(15000), "partial_cancel"},
		{allWith(5000), "contradiction"},
		{partOf(14000), "contradiction,provider_refund"},
		{partOf(14000), "contradiction"},
	} {
		require.Equal(t, 204, b.report(s, c.report))
		b.ThenRow(openItems, c.open)
		acknowledge()
	}
}

// A lookup has no webhook-id, so a repetition cannot be distinguished from a new
// part.
func TestProviderReturns_LookupWithPartialAmountChangesNothing(t *testing.T) {
	t.Parallel()
	b := setup(t)
	s := b.paid("goods-17")
	r := b.result(s, gateway.PartialCanceled)
	r.Amount = 3000
	for range 2 {
		require.NoError(t, b.inTx(func(tx *bus.Tx) error {
			return b.module.service.result(t.Context(), tx, receivedResult{Result: r, source: byLookup})
		}))
	}
	require.Equal(t, int64(0), b.view(s).Refunded)
	b.ThenRow(openItems, "partial_cancel")
}
