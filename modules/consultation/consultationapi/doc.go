// Package consultationapi is the contract of the consultation module: what it
// says, and the words that are needed to understand it.
//
// # The two events
//
// [Created] says that a consultation exists, [Changed] that something about it
// is different now. Both carry ids, times and, when the status moved, the move:
// which ([Transition]), by whose decision ([Actor]) and from where (prevState).
// That is enough to act without asking back. They never carry personal data:
// no name, telephone number or memo.
//
// A Changed without a transition says that another field changed, and nothing
// about the status. Such an event looks like the older, thin form of the same
// event, which had no transition at all; the data schema of the message tells
// the two apart (see [Changed.DataSchema]).
//
// # Statuses
//
// The hospital sees thirteen statuses ([Status]), the customer four
// ([CustomerStatus]); [Status.Customer] maps one to the other. Any status may
// move to any other. The new status is not in the payload: the transition's
// name fixes it ([Transition.Target]). [ReservationChanged] is a move to the
// same status: the reservation has a new time.
//
// # Times
//
// txDateTime is when this change was made, raisedAt is when the consultation
// was raised. On the wire both are without a zone, in Asia/Seoul, to the second
// (see [Time]).
//
// # Order
//
// The key of both events is the decimal consultation id: a subscriber hears the
// events of one consultation in the order in which they happened, so prevState
// is always the status that the event before it left behind.
package consultationapi
