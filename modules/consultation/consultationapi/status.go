package consultationapi

import "slices"

// Status is how far a consultation is, as the hospital sees it.
type Status string

// The thirteen statuses of the hospital.
const (
	Received   Status = "RECEIVED"   // booked, nobody has looked at it
	Contacting Status = "CONTACTING" // the hospital is trying to reach the customer
	Absent     Status = "ABSENT"     // the customer did not answer
	Counseled  Status = "COUNSELED"  // spoken to, nothing agreed yet
	Recontact  Status = "RECONTACT"  // to be called again
	Hold       Status = "HOLD"       // waiting for the customer
	Fixed      Status = "FIXED"      // the reservation is confirmed
	Visited    Status = "VISITED"    // the customer came
	Treated    Status = "TREATED"    // the treatment was given
	Closed     Status = "CLOSED"     // nothing is left to do
	NoShow     Status = "NO_SHOW"    // the customer did not come
	Canceled   Status = "CANCELED"   // called off, by whom the move says
	Rejected   Status = "REJECTED"   // the hospital does not take it
)

// CustomerStatus is how far a consultation is, as the customer sees it.
type CustomerStatus string

// The four statuses of the customer.
const (
	CustomerReceived  CustomerStatus = "received"  // 접수
	CustomerConfirmed CustomerStatus = "confirmed" // 확정
	CustomerDone      CustomerStatus = "done"      // 완료
	CustomerCancelled CustomerStatus = "cancelled" // 취소
)

// statuses is the one table of statuses, in the hospital's order.
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

// Customer returns what the customer sees, or "" if s is not valid.
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

// The actors. SYSTEM is for time-outs only: a deposit that was paid completes
// the hospital's confirmation, so its actor is HOSPITAL.
const (
	Member   Actor = "MEMBER"
	Hospital Actor = "HOSPITAL"
	System   Actor = "SYSTEM"
)

// Actors lists all three.
func Actors() []Actor { return []Actor{Member, Hospital, System} }

// Valid reports whether a is one of the three.
func (a Actor) Valid() bool { return slices.Contains(Actors(), a) }
