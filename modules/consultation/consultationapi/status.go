package consultationapi

import "slices"

// Status is the status of a consultation, as the hospital sees it.
type Status string

// The thirteen statuses of the hospital.
const (
	Received   Status = "RECEIVED"   // booked; the hospital has not looked at it
	Contacting Status = "CONTACTING" // the hospital is trying to reach the customer
	Absent     Status = "ABSENT"     // the customer did not answer
	Counseled  Status = "COUNSELED"  // the customer was reached, nothing is agreed yet
	Recontact  Status = "RECONTACT"  // the customer is to be called again
	Hold       Status = "HOLD"       // waiting for the customer
	Fixed      Status = "FIXED"      // the reservation is confirmed
	Visited    Status = "VISITED"    // the customer came
	Treated    Status = "TREATED"    // the treatment was given
	Closed     Status = "CLOSED"     // finished
	NoShow     Status = "NO_SHOW"    // the customer did not come
	Canceled   Status = "CANCELED"   // called off; the move's actor is who did
	Rejected   Status = "REJECTED"   // the hospital declined it
)

// CustomerStatus is the status of a consultation, as the customer sees it.
type CustomerStatus string

// The four statuses of the customer.
const (
	CustomerReceived  CustomerStatus = "received"  // 접수
	CustomerConfirmed CustomerStatus = "confirmed" // 확정
	CustomerDone      CustomerStatus = "done"      // 완료
	CustomerCancelled CustomerStatus = "cancelled" // 취소
)

// statuses lists all statuses, in the hospital's order, with what the customer
// sees.
var statuses = []struct {
	status   Status
	customer CustomerStatus
}{
	{Received, CustomerReceived},
	{Contacting, CustomerReceived},
	{Absent, CustomerReceived},
	{Counseled, CustomerReceived},
	{Recontact, CustomerReceived},
	{Hold, CustomerReceived},
	{Fixed, CustomerConfirmed},
	{Visited, CustomerDone},
	{Treated, CustomerDone},
	{Closed, CustomerDone},
	{NoShow, CustomerCancelled},
	{Canceled, CustomerCancelled},
	{Rejected, CustomerCancelled},
}

// Statuses lists all thirteen, in the hospital's order.
func Statuses() []Status {
	all := make([]Status, len(statuses))
	for i, s := range statuses {
		all[i] = s.status
	}
	return all
}

// Valid reports whether s is one of the thirteen.
func (s Status) Valid() bool { return slices.Contains(Statuses(), s) }

// Customer returns the status that the customer sees, or "" if s is invalid.
func (s Status) Customer() CustomerStatus {
	for _, row := range statuses {
		if row.status == s {
			return row.customer
		}
	}
	return ""
}

// Actor is who decided a move.
type Actor string

// The actors. SYSTEM is for time-outs only. A deposit payment completes the
// hospital's confirmation, so its actor is HOSPITAL.
const (
	Member   Actor = "MEMBER"
	Hospital Actor = "HOSPITAL"
	System   Actor = "SYSTEM"
)

// Actors lists all three.
func Actors() []Actor { return []Actor{Member, Hospital, System} }

// Valid reports whether a is one of the three.
func (a Actor) Valid() bool { return slices.Contains(Actors(), a) }
