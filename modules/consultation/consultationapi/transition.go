package consultationapi

import "strings"

// Transition names a move: CONSULTATION_ and the status that it leads to, or
// RESERVATION_CHANGED. "" is no transition: the status did not move.
type Transition string

// ReservationChanged gives the reservation a new time and keeps the status.
const ReservationChanged Transition = "RESERVATION_CHANGED"

const toStatus = "CONSULTATION_"

// To returns the transition that leads to the status.
func To(s Status) Transition { return Transition(toStatus + string(s)) }

// Transitions lists all fourteen: one for each status, and ReservationChanged.
func Transitions() []Transition {
	all := make([]Transition, 0, len(statuses)+1)
	for _, s := range statuses {
		all = append(all, To(s.status))
	}
	return append(all, ReservationChanged)
}

// Target returns the status after the transition, for a consultation that was
// in from. It is total: every transition has a target from every status, and
// ReservationChanged's is from itself. It is false only for a name, or a
// status, that does not exist.
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
