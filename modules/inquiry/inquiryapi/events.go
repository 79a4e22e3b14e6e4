package inquiryapi

import "strconv"

// Card is a kind of status card.
type Card string

// The cards.
const (
	ReservationReceived  Card = "reservation_received"  // 예약 접수
	ReservationConfirmed Card = "reservation_confirmed" // 예약 확정
	ReservationChanged   Card = "reservation_changed"   // 예약 변경
	ReservationCancelled Card = "reservation_cancelled" // 예약 취소
)

// Speaker is the side of the room on which a card or a message appears. A
// card's speaker is not always its actor.
type Speaker string

// The speakers.
const (
	Customer Speaker = "CUSTOMER"
	Hospital Speaker = "HOSPITAL"
)

// CardPosted is published when a status card is posted in the room of a
// consultation. Each move of the consultation posts at most one.
type CardPosted struct {
	RoomID         string  `json:"roomId"` // UUID
	ConsultationID int64   `json:"consultationId"`
	CardID         string  `json:"cardId"` // UUID
	Position       int64   `json:"position"`
	Card           Card    `json:"card"`
	Transition     string  `json:"transition"` // the consultation's stateTransition
	Actor          string  `json:"actor"`      // who decided: MEMBER, HOSPITAL or SYSTEM
	Speaker        Speaker `json:"speaker"`
}

// EventName returns the name of the event on the wire.
func (CardPosted) EventName() string { return "inquiry.card_posted" }

// Key returns the decimal consultation ID.
func (e CardPosted) Key() string { return key(e.ConsultationID) }

// MessagePosted is published when a customer or hospital posts a message in the
// room of a consultation.
type MessagePosted struct {
	RoomID         string  `json:"roomId"` // UUID
	ConsultationID int64   `json:"consultationId"`
	MessageID      string  `json:"messageId"` // UUID
	Position       int64   `json:"position"`
	Speaker        Speaker `json:"speaker"`
}

// EventName returns the name of the event on the wire.
func (MessagePosted) EventName() string { return "inquiry.message_posted" }

// Key returns the decimal consultation ID.
func (e MessagePosted) Key() string { return key(e.ConsultationID) }

func key(consultationID int64) string { return strconv.FormatInt(consultationID, 10) }
