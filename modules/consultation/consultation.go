package consultation

import (
	"strconv"
	"strings"
	"time"

	"millrace/modules/consultation/consultationapi"
	"millrace/modules/payment/paymentapi"
	"millrace/platform/errs"
)

// consultation is a consultation's current state, as stored in its row.
type consultation struct {
	id            int64
	hospitalID    int64
	memberID      int64
	openedBy      consultationapi.Actor
	status        consultationapi.Status
	reservationAt *time.Time
	fields        fields
	moves         int64 // number of rows in history
	version       int64 // incremented by every change, also of a deposit
	raisedAt      time.Time
	changedAt     time.Time
}

// fields are the fields that can change without a move. They are personal data.
type fields struct{ visitorName, phone, memo string }

// moveRequest is a requested move: to a status, or to a new reservation time if to
// is empty.
type moveRequest struct {
	to            consultationapi.Status
	actor         consultationapi.Actor
	reservationAt *time.Time
}

// move is one row of history, and its JSON form in the API.
type move struct {
	Position      int64                      `json:"position" doc:"1, 2, 3, … in the consultation's history"`
	Transition    consultationapi.Transition `json:"transition"`
	Actor         consultationapi.Actor      `json:"actor" doc:"Who decided it"`
	From          consultationapi.Status     `json:"from,omitempty" doc:"Absent for the booking"`
	To            consultationapi.Status     `json:"to"`
	At            time.Time                  `json:"at"`
	ReservationAt *time.Time                 `json:"reservationAt,omitempty" doc:"The reservation's time after the move"`
}

// booking returns the first move of a consultation that a customer booked.
func booking(c consultation) move {
	return move{
		Position: 1, Transition: consultationapi.To(consultationapi.Received), Actor: consultationapi.Member,
		To: consultationapi.Received, At: c.raisedAt, ReservationAt: c.reservationAt,
	}
}

// state returns the current state, for conditions and for refusals.
func (c consultation) state() errs.State {
	return errs.State{Status: string(c.status), Version: c.version}
}

// next returns the requested move, without its time, or an error if it is not
// allowed. paid is the state of the consultation's deposit.
func (c consultation) next(want moveRequest, paid depositState) (move, error) {
	m := move{Position: c.moves + 1, Actor: want.actor, From: c.status, ReservationAt: c.reservationAt}
	switch {
	case !want.actor.Valid():
		return m, errs.InvalidField("actor", "is MEMBER, HOSPITAL or SYSTEM")
	case want.to == "" && want.reservationAt == nil:
		return m, errs.InvalidField("to", "give a status, or reservationAt for a new time")
	case want.to != "" && want.reservationAt != nil:
		return m, errs.InvalidField("reservationAt", "a new time is a move of its own: leave out to")
	case want.to == "":
		if cancelledGroup(c.status) {
			return m, errs.Refuse(c.state(), "consultation %d is %s: a new time needs a re-opening first, as a move to RECEIVED", c.id, c.status)
		}
		if c.reservationAt != nil && c.reservationAt.Equal(*want.reservationAt) {
			return m, errs.Refuse(c.state(), "the reservation of consultation %d has this time already", c.id)
		}
		m.Transition, m.ReservationAt = consultationapi.ReservationChanged, want.reservationAt
	case want.to == c.status:
		return m, errs.Refuse(c.state(), "consultation %d is %s already", c.id, c.status)
	case want.to == consultationapi.Fixed && cancelledGroup(c.status):
		return m, errs.Refuse(c.state(), "consultation %d is %s: a confirmation needs a re-opening first, as a move to RECEIVED", c.id, c.status)
	case want.to == consultationapi.Fixed && paid == refundRequested:
		return m, errs.Refuse(c.state(), "the deposit of consultation %d is being refunded: it is confirmed when the deposit was refunded and is paid again", c.id)
	case want.to == consultationapi.Fixed && paid == depositRefunded:
		return m, errs.Refuse(c.state(), "the deposit of consultation %d was refunded: it is confirmed when the deposit is paid again", c.id)
	default:
		m.Transition = consultationapi.To(want.to)
	}
	target, ok := m.Transition.Target(c.status)
	if !ok {
		return m, errs.InvalidField("to", "is one of the thirteen statuses")
	}
	m.To = target
	return m, nil
}

// reservationTime truncates a requested reservation time to the second; nil stays
// nil. The year must be 1900 to 9999 in UTC: years beyond 9999 and below 0 have no
// RFC 3339 format, and others are typing errors.
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

// cancelledGroup reports whether customers see the status as cancelled.
func cancelledGroup(s consultationapi.Status) bool {
	return s.Customer() == consultationapi.CustomerCancelled
}

// cancels reports whether the status calls the consultation off, so that its
// deposit is refunded. After a no-show the deposit is kept.
func cancels(s consultationapi.Status) bool {
	return s == consultationapi.Canceled || s == consultationapi.Rejected
}

// reaction is the effect of a deposit payment on a consultation.
type reaction string

const (
	confirm    reaction = "confirm"     // it completes the hospital's confirmation
	giveBack   reaction = "give back"   // it arrived after a cancellation and is refunded
	onlyRecord reaction = "only record" // it is stored and changes nothing else
)

// onDeposit returns the effect of a deposit payment on a consultation in the
// status.
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

// depositOrder returns the order key of a consultation's deposit. consultationOf
// is its inverse; each id has exactly one order key, without sign or leading
// zeros.
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
