package consultation

import (
	"strconv"
	"strings"
	"time"

	"millrace/modules/consultation/consultationapi"
	"millrace/modules/payment/paymentapi"
	"millrace/platform/errs"
)

// consultation is one row, and the last word on what status it is in.
type consultation struct {
	id            int64
	hospitalID    int64
	memberID      int64
	openedBy      consultationapi.Actor
	status        consultationapi.Status
	reservationAt *time.Time
	fields        fields
	moves         int64 // rows of history
	raisedAt      time.Time
	changedAt     time.Time
}

// fields are what may be changed without a move. They are personal data.
type fields struct{ visitorName, phone, memo string }

// wish is a move that somebody asks for: to a status, or, when to is empty, to
// a new time.
type wish struct {
	to            consultationapi.Status
	actor         consultationapi.Actor
	reservationAt *time.Time
}

// move is one row of history, and what is told of it.
type move struct {
	Position      int64                      `json:"position" doc:"1, 2, 3, … in the consultation's history"`
	Transition    consultationapi.Transition `json:"transition"`
	Actor         consultationapi.Actor      `json:"actor" doc:"Who decided it"`
	From          consultationapi.Status     `json:"from,omitempty" doc:"Absent for the booking"`
	To            consultationapi.Status     `json:"to"`
	At            time.Time                  `json:"at"`
	ReservationAt *time.Time                 `json:"reservationAt,omitempty" doc:"The reservation's time after the move"`
}

// booking is the first move of a consultation that a customer booked.
func booking(c consultation) move {
	return move{
		Position: 1, Transition: consultationapi.To(consultationapi.Received), Actor: consultationapi.Member,
		To: consultationapi.Received, At: c.raisedAt, ReservationAt: c.reservationAt,
	}
}

// next returns the move that fulfils the wish, without its time.
func (c consultation) next(w wish) (move, error) {
	m := move{Position: c.moves + 1, Actor: w.actor, From: c.status, ReservationAt: c.reservationAt}
	switch {
	case !w.actor.Valid():
		return m, errs.InvalidField("actor", "is MEMBER, HOSPITAL or SYSTEM")
	case w.to == "" && w.reservationAt == nil:
		return m, errs.InvalidField("to", "give a status, or reservationAt for a new time")
	case w.to != "" && w.reservationAt != nil:
		return m, errs.InvalidField("reservationAt", "a new time is a move of its own: leave out to")
	case w.to == "":
		if c.reservationAt != nil && c.reservationAt.Equal(*w.reservationAt) {
			return m, errs.New(errs.Conflict, "the reservation of consultation %d has this time already", c.id)
		}
		m.Transition, m.ReservationAt = consultationapi.ReservationChanged, w.reservationAt
	case w.to == c.status:
		return m, errs.New(errs.Conflict, "consultation %d is %s already", c.id, c.status)
	default:
		m.Transition = consultationapi.To(w.to)
	}
	target, ok := m.Transition.Target(c.status)
	if !ok {
		return m, errs.InvalidField("to", "is one of the thirteen statuses")
	}
	m.To = target
	return m, nil
}

// reservationTime is the second of a reservation that somebody asks for, or nil
// for none. Its year is 1900 to 9999 in UTC: others have no RFC 3339 form, in
// which the reservation is told again, or are a slip of the pen.
func reservationTime(t *time.Time) (*time.Time, error) {
	if t == nil {
		return nil, nil
	}
	at := t.UTC().Truncate(time.Second)
	if at.Year() < 1900 || at.Year() > 9999 {
		return nil, errs.InvalidField("reservationAt", "must be in a year from 1900 to 9999, in UTC")
	}
	return &at, nil
}

// cancels reports whether a consultation in the status is called off, so that
// a deposit goes back. A customer who did not come loses it.
func cancels(s consultationapi.Status) bool {
	return s == consultationapi.Canceled || s == consultationapi.Rejected
}

// reaction is what a deposit that was just paid does to a consultation.
type reaction string

const (
	confirm    reaction = "confirm"     // it was what the hospital's confirmation waited for
	giveBack   reaction = "give back"   // it came too late
	onlyRecord reaction = "only record" // it changes nothing
)

// onDeposit returns what a paid deposit does to a consultation in the status.
func onDeposit(s consultationapi.Status) reaction {
	switch {
	case cancels(s):
		return giveBack
	case s.Customer() == consultationapi.CustomerReceived:
		return confirm
	default:
		return onlyRecord
	}
}

// depositOrder and consultationOf map a consultation to the order key of its
// deposit and back. An id has one order key: no sign, no leading zero.
func depositOrder(id int64) string {
	return string(paymentapi.Deposit) + "-" + strconv.FormatInt(id, 10)
}

func consultationOf(orderKey string) (int64, error) {
	number, _ := strings.CutPrefix(orderKey, string(paymentapi.Deposit)+"-")
	id, err := strconv.ParseInt(number, 10, 64)
	if err != nil || id <= 0 || depositOrder(id) != orderKey {
		return 0, errs.New(errs.Invalid, "%q is not the order key of a deposit: deposit-<consultation id>", orderKey)
	}
	return id, nil
}
