package delivery

import (
	"slices"
	"time"

	"github.com/google/uuid"

	"millrace/modules/delivery/deliveryapi"
	"millrace/platform/bus"
)

// state is the state of a delivery.
type state string

// The states. unpaid means that there is no delivery yet.
const (
	unpaid          state = ""
	awaitingAddress state = "awaiting_address" // paid, but there is no address yet
	prepared        state = "prepared"         // waiting for the carrier
	shipped         state = "shipped"
	delivered       state = "delivered"
	failed          state = "failed"    // no carrier serves the address
	cancelled       state = "cancelled" // refunded before it was shipped
)

// notPaid is how the API shows unpaid.
const notPaid state = "unpaid"

// action is a change of a delivery.
type action string

// The actions.
const (
	await   action = "await"   // paid without an address
	prepare action = "prepare" // paid, with an address that a carrier serves
	refuse  action = "refuse"  // paid, with an address that no carrier serves
	ship    action = "ship"
	deliver action = "deliver"
	cancel  action = "cancel" // the payment was refunded
)

// Actions that are recorded in the history and do not change the state.
const (
	readdress action = "readdress" // the address was changed before shipping
	refunded  action = "refunded"  // the payment was refunded too late to stop the parcel, or after a failure
)

// moves is the state machine: for each state, the allowed actions and the state
// that follows.
var moves = map[state]map[action]state{
	unpaid:          {await: awaitingAddress, prepare: prepared, refuse: failed, cancel: cancelled},
	awaitingAddress: {prepare: prepared, refuse: failed, cancel: cancelled},
	prepared:        {ship: shipped, cancel: cancelled},
	shipped:         {deliver: delivered},
}

// done lists the states in which a requested action has already happened, so that
// a repeated request changes nothing.
var done = map[action][]state{
	ship:    {shipped, delivered},
	deliver: {delivered},
}

func (d delivery) did(a action) bool { return slices.Contains(done[a], d.State) }

// delivery is the delivery of one order.
type delivery struct {
	ID             uuid.UUID
	OrderKey       string
	UserID         string
	PaymentID      string
	State          state
	Carrier        carrier // set since prepared
	TrackingNumber string  // set since shipped
	Reason         string  // of a failure or a cancellation
	CreatedAt      time.Time
	UpdatedAt      time.Time
	Version        int64 // of the delivery without its address; see findVersion
}

// change is one row of a delivery's history.
type change struct {
	Action  action
	From    state
	To      state
	Note    string
	CauseID *uuid.UUID
	At      time.Time
}

// event returns the event of the delivery's state, or nil if the state has none.
func (d delivery) event() bus.Event {
	id := d.ID.String()
	switch d.State {
	case prepared:
		return deliveryapi.Prepared{DeliveryID: id, OrderKey: d.OrderKey, UserID: d.UserID}
	case shipped:
		return deliveryapi.Shipped{DeliveryID: id, OrderKey: d.OrderKey, UserID: d.UserID, Carrier: string(d.Carrier), TrackingNumber: d.TrackingNumber}
	case delivered:
		return deliveryapi.Delivered{DeliveryID: id, OrderKey: d.OrderKey, UserID: d.UserID, Carrier: string(d.Carrier), TrackingNumber: d.TrackingNumber}
	case failed:
		return deliveryapi.Failed{DeliveryID: id, OrderKey: d.OrderKey, UserID: d.UserID, Reason: d.Reason}
	case cancelled:
		return deliveryapi.Cancelled{DeliveryID: id, OrderKey: d.OrderKey, UserID: d.UserID, Reason: d.Reason}
	case unpaid, awaitingAddress:
	}
	return nil
}
