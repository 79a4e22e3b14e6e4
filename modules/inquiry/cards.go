package inquiry

import (
	"millrace/modules/consultation/consultationapi"
	"millrace/modules/inquiry/inquiryapi"
	"millrace/modules/notification/notificationapi"
)

// words is a text in both languages.
type words struct {
	Korean  string `json:"ko"`
	English string `json:"en"`
}

// move is a transition together with the actor who made it.
type move struct {
	transition consultationapi.Transition
	actor      consultationapi.Actor
}

// statusCard is a row of statusCards.
type statusCard struct {
	card     inquiryapi.Card
	speaker  inquiryapi.Speaker
	template string // template of the notification to the customer
	title    words
	text     words
}

// statusCards is the table of all cards. The transition and the actor decide
// which card is posted and on which side of the room it appears. A pair without
// a row posts no card.
//
// The speakers of the two cancellations are swapped on purpose: a cancellation
// by one side appears on the other side of the room. The card's text names the
// actor, so readers are not misled.
var statusCards = map[move]statusCard{
	{consultationapi.To(consultationapi.Received), consultationapi.Member}: {
		inquiryapi.ReservationReceived, inquiryapi.Customer, notificationapi.ReservationReceived, received,
		words{"고객님이 예약을 접수했습니다.", "The customer booked a reservation."},
	},
	{consultationapi.To(consultationapi.Fixed), consultationapi.Hospital}: {
		inquiryapi.ReservationConfirmed, inquiryapi.Hospital, notificationapi.ReservationConfirmed, confirmed,
		words{"병원이 예약을 확정했습니다.", "The hospital confirmed the reservation."},
	},
	{consultationapi.ReservationChanged, consultationapi.Member}: {
		inquiryapi.ReservationChanged, inquiryapi.Customer, notificationapi.ReservationChanged, changed,
		words{"고객님이 예약을 변경했습니다.", "The customer changed the reservation."},
	},
	{consultationapi.ReservationChanged, consultationapi.Hospital}: {
		inquiryapi.ReservationChanged, inquiryapi.Hospital, notificationapi.ReservationChanged, changed,
		words{"병원이 예약을 변경했습니다.", "The hospital changed the reservation."},
	},
	{consultationapi.To(consultationapi.Canceled), consultationapi.Hospital}: {
		inquiryapi.ReservationCancelled, inquiryapi.Customer, notificationapi.ReservationCancelled, cancelled,
		words{"병원이 예약을 취소했습니다.", "The hospital cancelled the reservation."},
	},
	{consultationapi.To(consultationapi.Canceled), consultationapi.Member}: {
		inquiryapi.ReservationCancelled, inquiryapi.Hospital, notificationapi.ReservationCancelled, cancelled,
		words{"고객님이 예약을 취소했습니다.", "The customer cancelled the reservation."},
	},
}

var (
	received  = words{"예약 접수", "Reservation received"}
	confirmed = words{"예약 확정", "Reservation confirmed"}
	changed   = words{"예약 변경", "Reservation changed"}
	cancelled = words{"예약 취소", "Reservation cancelled"}
)
