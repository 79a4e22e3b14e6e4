package paymentapi

import (
	"slices"
	"strings"
)

// The codes of a refund's reason. Events contain one of these and nothing else,
// because events are stored and exported to files. Other text in a Refund command,
// as earlier versions sent it, is stored in the payment module's own table only.
const (
	AddressNotServed   = "address_not_served"
	DuplicateCharge    = "duplicate_charge"  // a late charge of an order that has another payment
	ProviderCanceled   = "provider_canceled" // made at the provider, without a request of ours
	DepositPaidLate    = "deposit_paid_late" // paid after the consultation was cancelled
	consultationEnded  = "consultation_"     // prefix; see ConsultationEnded
	OtherReason        = "other"
	CanceledByMember   = consultationEnded + "canceled_member"
	CanceledByHospital = consultationEnded + "canceled_hospital"
	CanceledBySystem   = consultationEnded + "canceled_system"
	RejectedByHospital = consultationEnded + "rejected_hospital"
	NoShowByHospital   = consultationEnded + "no_show_hospital"
	NoShowBySystem     = consultationEnded + "no_show_system"
	EndedOtherwise     = consultationEnded + "ended" // an unknown status or actor
)

// RefundReasons lists all codes.
var RefundReasons = []string{
	AddressNotServed, DuplicateCharge, ProviderCanceled, DepositPaidLate, CanceledByMember, CanceledByHospital, CanceledBySystem,
	RejectedByHospital, NoShowByHospital, NoShowBySystem, EndedOtherwise, OtherReason,
}

// ConsultationEnded returns the code for a consultation that an actor moved to a
// status of the cancelled group, as "CANCELED" and "MEMBER".
func ConsultationEnded(status, actor string) string {
	code := consultationEnded + strings.ToLower(status+"_"+actor)
	if !slices.Contains(RefundReasons, code) {
		return EndedOtherwise
	}
	return code
}

// RefundReason returns the code for a reason text. It recognizes the texts that
// versions without codes wrote; any other text is OtherReason.
func RefundReason(reason string) string {
	if slices.Contains(RefundReasons, reason) {
		return reason
	}
	if reason == "address cannot be served" {
		return AddressNotServed
	}
	if strings.HasPrefix(reason, "the deposit was paid after the consultation was ") {
		return DepositPaidLate
	}
	if ended, found := strings.CutPrefix(reason, "the consultation was "); found {
		status, actor, _ := strings.Cut(ended, " by ")
		return ConsultationEnded(status, actor)
	}
	return OtherReason
}
