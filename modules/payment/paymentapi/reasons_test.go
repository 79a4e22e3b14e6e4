package paymentapi

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestRefundReason_AlwaysReturnsACode(t *testing.T) {
	t.Parallel()
	for given, want := range map[string]string{
		"address_not_served": AddressNotServed, "address cannot be served": AddressNotServed,
		"the consultation was CANCELED by MEMBER": CanceledByMember, "the consultation was NO_SHOW by SYSTEM": NoShowBySystem,
		"the consultation was CANCELED by Kim Minji":                     "consultation_ended",
		"the deposit was paid after the consultation was REJECTED":       DepositPaidLate,
		"the deposit was paid after the consultation was Kim's 010-1234": DepositPaidLate,
		"": OtherReason, "Kim Minji, 010-1234-5678, changed her mind": OtherReason, "Address_not_served": OtherReason,
	} {
		require.Equal(t, want, RefundReason(given), given)
	}
	for _, code := range RefundReasons {
		require.Equal(t, code, RefundReason(code))
		require.Regexp(t, `^[a-z_]+$`, code)
	}
	require.Equal(t, RejectedByHospital, ConsultationEnded("REJECTED", "HOSPITAL"))
}
