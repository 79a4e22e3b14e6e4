package delivery

import (
	"slices"
	"time"

	"github.com/google/uuid"

	"millrace/modules/delivery/deliveryapi"
	"millrace/platform/bus"
)

// state is where a delivery stands.
type state string

// The states. unpaid is before the delivery: an order that nobody paid yet.
const (
	unpaid          state = ""
	awaitingAddress state = "awaiting_address" // paid, and nobody said where to
	prepared        state = "prepared"         // waits for the carrier
	shipped         state = "shipped"
	delivered       state = "delivered"
	failed          state = "failed"    // no carrier serves the address
	cancelled       state = "cancelled" // refunded before it left
)

// action is what happens to a delivery.
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

// Rows of the history that move nothing.
const (
	readdress action = "readdress" // another address before it was shipped
	refunded  action = "refunded"  // the money went back, too late to stop the parcel or after a failure
)

// moves is the state machine. What is not in it does not happen.
var moves = map[state]map[action]state{
	unpaid:          {await: awaitingAddress, prepare: prepared, refuse: failed, cancel: cancelled},
	awaitingAddress: {prepare: prepared, refuse: failed, cancel: cancelled},
	prepared:        {ship: shipped, cancel: cancelled},
	shipped:         {deliver: delivered},
}

// done tells the states in which an action has had its effect already, so that
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
	Carrier        carrier // from prepared on
	TrackingNumber string  // from shipped on
	Reason         string  // of a failure or a cancellation
	CreatedAt      time.Time
	UpdatedAt      time.Time
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

// event is what the world hears of a delivery that came into its state; nil
// when there is nothing to say.
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
