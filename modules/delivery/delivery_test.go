package delivery

import (
	"testing"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"millrace/platform/errs"
)

var allStates = []state{unpaid, awaitingAddress, prepared, shipped, delivered, failed, cancelled}

func TestMoves_AllowOnlyTheListedTransitions(t *testing.T) {
	t.Parallel()
	allowed := map[string]state{
		" await": awaitingAddress, " prepare": prepared, " refuse": failed, " cancel": cancelled,
		"awaiting_address prepare": prepared, "awaiting_address refuse": failed, "awaiting_address cancel": cancelled,
		"prepared ship": shipped, "prepared cancel": cancelled,
		"shipped deliver": delivered,
	}
	for _, from := range allStates {
		for _, a := range []action{await, prepare, refuse, ship, deliver, cancel, readdress, refunded} {
			to, found := moves[from][a]
			want, ok := allowed[string(from)+" "+string(a)]
			require.Equal(t, ok, found, "%q %s", from, a)
			require.Equal(t, want, to, "%q %s", from, a)
		}
	}
}

func TestDelivery_EveryStateButAwaitingAddressHasAnEvent(t *testing.T) {
	t.Parallel()
	published := map[state]string{
		prepared: "delivery.prepared", shipped: "delivery.shipped", delivered: "delivery.delivered",
		failed: "delivery.failed", cancelled: "delivery.cancelled",
	}
	for _, s := range allStates {
		event := delivery{ID: uuid.New(), OrderKey: "goods-1", State: s}.event()
		if published[s] == "" {
			require.Nil(t, event)
			continue
		}
		require.Equal(t, published[s], event.EventName())
		require.Equal(t, "goods-1", event.Key())
	}
}

func TestDelivery_DidRecognizesRepeatedRequests(t *testing.T) {
	t.Parallel()
	for _, s := range allStates {
		require.Equal(t, s == shipped || s == delivered, delivery{State: s}.did(ship), s)
		require.Equal(t, s == delivered, delivery{State: s}.did(deliver), s)
	}
}

func TestCarrierFor_LongestPostcodePrefixDecides(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		country, postcode string
		by                carrier
		reason            string
	}{
		{"KR", "04524", cj, ""},
		{"KR", "63122", koreaPost, ""},
		{"KR", "40210", koreaPost, ""},
		{"KR", "40240", nobody, "no carrier serves 40240"},
		{"KR", "00000", nobody, "no carrier serves 00000"},
		{"JP", "100-0001", ems, ""},
		{"US", "94105", ems, ""},
		{"US", "96813", nobody, "no carrier serves 96"},
		{"AQ", "0000", nobody, "no carrier serves the country AQ"},
	} {
		by, reason := carrierFor(address{Country: c.country, Postcode: c.postcode})
		require.Equal(t, c.by, by, "%s %s", c.country, c.postcode)
		require.Equal(t, c.reason, reason, "%s %s", c.country, c.postcode)
	}
	for _, row := range served {
		if row.by != nobody {
			require.Regexp(t, `^[A-Z]{2}000000000017$`, row.by.trackingNumber(17))
		}
	}
}

func TestAddress_ValidateNamesEveryInvalidField(t *testing.T) {
	t.Parallel()
	good := address{Name: "김하늘", Phone: "+82 10-1234-5678", Postcode: "04524", Line1: "세종대로 110"}
	require.NoError(t, good.tidy().validate())
	require.Equal(t, homeCountry, good.tidy().Country)

	for field, spoil := range map[string]func(*address){
		"name":     func(a *address) { a.Name = "  " },
		"phone":    func(a *address) { a.Phone = "call me" },
		"postcode": func(a *address) { a.Postcode = "4524" },
		"line1":    func(a *address) { a.Line1 = "a\x00b" },
		"line2":    func(a *address) { a.Line2 = "a\nb" },
		"city":     func(a *address) { a.City = string(make([]rune, 101)) },
		"country":  func(a *address) { a.Country = "Korea" },
	} {
		bad := good
		spoil(&bad)
		err := bad.tidy().validate()
		require.Equal(t, errs.Invalid, errs.KindOf(err), field)
		require.Equal(t, field, errs.FieldOf(err))
	}
	err := address{Phone: "1", Postcode: "x", Country: "12"}.tidy().validate()
	for _, field := range []string{"name", "line1", "phone", "country"} {
		require.ErrorContains(t, err, field+": ")
	}
}
