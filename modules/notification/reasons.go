package notification

import (
	"strings"

	"millrace/modules/payment/paymentapi"
)

// phrase is a text in Korean and in English.
type phrase struct{ korean, english string }

func (p phrase) in(lang language) string {
	if lang == korean {
		return p.korean
	}
	return p.english
}

// The general phrases fit every reason. They are used for codes without a
// phrase of their own and for free text, which may exist in one language only
// or name a person.
var (
	notApproved = phrase{"결제가 승인되지 않았습니다. 자세한 내용은 카드사나 은행에 문의해 주세요.", "The payment was not approved. Please ask your card issuer or bank for details."}
	wentBack    = phrase{"환불이 처리되었습니다.", "A refund was made."}
)

// failures maps the reason codes of payment.failed to phrases. Suspected fraud
// gets the general phrase: most customers are honest, and a thief must not
// learn what was detected.
var failures = map[string]phrase{
	"insufficient_funds":   {"잔액 부족으로 결제되지 않았습니다.", "There were insufficient funds on the card or account."},
	"card_expired":         {"카드의 유효 기간이 지났습니다.", "The card has expired."},
	"card_declined":        {"카드사에서 결제를 승인하지 않았습니다.", "The card issuer declined the payment."},
	"limit_exceeded":       {"카드나 계좌의 이용 한도를 넘었습니다.", "The amount is above the limit of the card or account."},
	"suspected_fraud":      notApproved,
	"forged":               notApproved,
	"issuer_unavailable":   {"카드사와 연결되지 않아 결제되지 않았습니다.", "The card issuer could not be reached."},
	"declined":             notApproved,
	"canceled":             {"결제가 취소되었습니다.", "The payment was cancelled."},
	"expired":              {"결제 시간이 지났습니다.", "The time to pay ran out."},
	"refused":              {"결제 대행사에서 결제 요청을 받지 않았습니다.", "The payment provider did not accept the request."},
	"invalid_charge":       {"결제 대행사에서 결제 요청을 받지 않았습니다.", "The payment provider did not accept the request."},
	"callback_url":         {"결제 대행사에서 결제 요청을 받지 않았습니다.", "The payment provider did not accept the request."},
	"unsupported_currency": {"이 통화로는 결제할 수 없습니다.", "The payment provider does not take this currency."},
	"unsupported_method":   {"이 결제 수단은 사용할 수 없습니다.", "The payment provider does not take this means of payment."},
	"other":                notApproved,
}

// refunds maps the reasons of payment.refunded to phrases. Reasons that add
// nothing to wentBack have no entry. A deposit is refunded when its
// consultation ends in the cancelled group.
var refunds = map[string]phrase{
	paymentapi.AddressNotServed: {"입력하신 주소로는 배송할 수 없어 환불되었습니다.", "We cannot deliver to the address."},
	// This text stays true whether the order's other payment succeeds, fails or
	// is refunded.
	paymentapi.DuplicateCharge:    {"같은 주문의 다른 결제가 시작된 뒤에 이 결제가 늦게 승인되어 돌려드렸습니다. 이번 환불은 이 결제에만 해당합니다.", "This payment was approved late, after another payment for the order had been started. The refund is for this payment only."},
	paymentapi.ProviderCanceled:   {"결제 대행사를 통해 결제가 취소되었습니다.", "The payment was cancelled at the payment provider."},
	paymentapi.DepositPaidLate:    {"예약이 취소된 뒤에 예약금이 결제되어 돌려드렸습니다.", "The deposit was paid after the reservation had been cancelled."},
	paymentapi.CanceledByMember:   {"고객님이 예약을 취소하셨습니다.", "You cancelled the reservation."},
	paymentapi.CanceledByHospital: {"병원에서 예약을 취소했습니다.", "The hospital cancelled the reservation."},
	paymentapi.CanceledBySystem:   {"기한이 지나 예약이 자동으로 취소되었습니다.", "The reservation was cancelled automatically because its time ran out."},
	paymentapi.RejectedByHospital: {"병원 사정으로 예약을 받을 수 없습니다.", "The hospital could not take the reservation."},
	paymentapi.NoShowByHospital:   {"예약하신 시간에 방문이 확인되지 않았습니다.", "The visit did not take place at the reserved time."},
	paymentapi.NoShowBySystem:     {"예약하신 시간에 방문이 확인되지 않았습니다.", "The visit did not take place at the reserved time."},
	paymentapi.EndedOtherwise:     {"예약이 취소되어 환불되었습니다.", "The reservation was cancelled."},
}

// failureReason returns the phrase that explains why a payment failed.
func failureReason(lang language, code string) string {
	if known, ok := failures[code]; ok {
		return known.in(lang)
	}
	return notApproved.in(lang)
}

// refundReason returns the phrase that explains a refund.
func refundReason(lang language, reason string) string {
	if known, ok := refunds[paymentapi.RefundReason(reason)]; ok { // older events may hold other reasons
		return known.in(lang)
	}
	return wentBack.in(lang)
}

// actorNames are the names, shown to the customer, of those who decided about a
// reservation.
var actorNames = map[string]phrase{
	"MEMBER": {"고객님", "you"}, "HOSPITAL": {"병원", "the hospital"}, "SYSTEM": {"자동 처리", "our system"},
}

func actorName(lang language, actor string) string { return actorNames[actor].in(lang) }

var carriers = map[string]phrase{
	"cj-logistics": {"CJ대한통운", "CJ Logistics"}, "korea-post": {"우체국택배", "Korea Post"}, "ems": {"EMS", "EMS"},
}

// carrierName returns a carrier's display name. For a carrier that is not in
// the list it returns the name that delivery published, in capitals, because
// the customer needs it to use the tracking number.
func carrierName(lang language, carrier string) string {
	if known, ok := carriers[carrier]; ok {
		return known.in(lang)
	}
	return strings.ToUpper(strings.NewReplacer("-", " ", "_", " ").Replace(carrier))
}
