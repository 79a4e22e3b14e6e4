// Package consultationapi is the contract of the consultation module: its events
// and their vocabulary.
//
// # Events
//
// [Created] is published when a consultation was created, [Changed] when something
// about it changed. Both contain ids, times and, if the status moved, the move:
// which ([Transition]), by whose decision ([Actor]) and from where (prevState). A
// subscriber needs no further request. The events never contain personal data: no
// name, telephone number or memo.
//
// A Changed without a transition means that another field changed and the status
// did not. It looks like the older, thin form of the same event, which never had a
// transition; the data schema of the message distinguishes the two (see
// [Changed.DataSchema]).
//
// # Statuses
//
// The hospital sees thirteen statuses ([Status]), the customer four
// ([CustomerStatus]); [Status.Customer] maps one to the other. Any status may move
// to any other. The payload does not contain the new status, because the
// transition determines it ([Transition.Target]). [ReservationChanged] is a move
// to the same status: the reservation has a new time.
//
// # Times
//
// txDateTime is when the change was made, raisedAt when the consultation was
// created. On the wire both have no zone, are in Asia/Seoul, and have a resolution
// of one second (see [Time]).
//
// # Order
//
// The key of both events is the decimal consultation id. A subscriber receives the
// events of one consultation in the order of its changes, so prevState is the
// status after the previous event.
package consultationapi
