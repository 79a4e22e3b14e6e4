package consultationapi

import "strings"

// Transition names a move: CONSULTATION_ and the new status, or
// RESERVATION_CHANGED. "" means that the status did not move.
type Transition string

// ReservationChanged gives the reservation a new time and keeps the status.
const ReservationChanged Transition = "RESERVATION_CHANGED"

const toStatus = "CONSULTATION_"

// To returns the transition to the status.
func To(s Status) Transition { return Transition(toStatus + string(s)) }

// Transitions lists all fourteen: one per status, and ReservationChanged.
func Transitions() []Transition {
	all := make([]Transition, 0, len(statuses)+1)
	for _, s := range statuses {
		all = append(all, To(s.status))
	}
	return append(all, ReservationChanged)
}

// Target returns the status after the transition of a consultation in status from.
// Every transition has a target from every status; that of ReservationChanged is
// from itself. It returns false only if the transition or status does not exist.
func (t Transition) Target(from Status) (Status, bool) {
	if !from.Valid() {
		return "", false
	}
	if t == ReservationChanged {
		return from, true
	}
	name, found := strings.CutPrefix(string(t), toStatus)
	target := Status(name)
	if !found || !target.Valid() {
		return "", false
	}
	return target, true
}
