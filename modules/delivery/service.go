package delivery

import (
	"cmp"
	"context"

	"github.com/google/uuid"

	"millrace/modules/payment/paymentapi"
	"millrace/platform/bus"
	"millrace/platform/errs"
)

// service holds the use cases. Each one runs in a single transaction.
type service struct {
	db    *bus.DB
	moved func() // called after the commit of a state that the warehouse or the carrier acts on
}

// condition checks what the caller of a change expects. It is called under the
// delivery's lock, before anything is changed.
type condition func(now errs.State) error

// stateOf returns the current state of a locked delivery, for conditions and for
// refusals.
func stateOf(ctx context.Context, tx *bus.Tx, d delivery) (errs.State, error) {
	version, err := findVersion(ctx, tx, d.OrderKey)
	return errs.State{Status: string(cmp.Or(d.State, notPaid)), Version: version}, err
}

// setAddress sets the address of an order: before it is paid, while its delivery
// waits for the address, or later until the parcel is shipped. It returns the
// delivery and the version of the order's delivery and address.
func (s *service) setAddress(ctx context.Context, orderKey string, expected condition, a address) (d delivery, version int64, err error) {
	if kind, ok := paymentapi.KindOf(orderKey); !ok || kind != paymentapi.Goods {
		return d, 0, errs.InvalidField("orderKey", "is not the key of an order of goods")
	}
	a = a.tidy()
	if err := a.validate(); err != nil {
		return d, 0, err
	}
	err = s.db.InTx(ctx, func(tx *bus.Tx) error {
		if err := lockOrder(ctx, tx, orderKey); err != nil {
			return err
		}
		if d, err = lockDelivery(ctx, tx, orderKey); err != nil {
			return err
		}
		now, err := stateOf(ctx, tx, d)
		if err != nil {
			return err
		}
		if err := expected(now); err != nil {
			return err
		}
		if err := s.readdress(ctx, tx, &d, now, a); err != nil {
			return err
		}
		version, err = findVersion(ctx, tx, orderKey)
		return err
	})
	return d, version, err
}

// readdress changes the address of a locked order.
func (s *service) readdress(ctx context.Context, tx *bus.Tx, d *delivery, now errs.State, a address) error {
	known, found, err := findAddress(ctx, tx, d.OrderKey)
	if err != nil {
		return err
	}
	if found && known == a {
		return nil // a repeated request
	}
	switch d.State {
	case unpaid:
		return saveAddress(ctx, tx, d.OrderKey, a)
	case awaitingAddress:
		if err := saveAddress(ctx, tx, d.OrderKey, a); err != nil {
			return err
		}
		return s.decide(ctx, tx, d, a)
	case prepared:
		by, reason := carrierFor(a)
		if by == nobody {
			return errs.InvalidField("postcode", "%s; the parcel keeps its address", reason)
		}
		d.Carrier = by
		if err := saveAddress(ctx, tx, d.OrderKey, a); err != nil {
			return err
		}
		if err := updateDelivery(ctx, tx, *d); err != nil {
			return err
		}
		return insertHistory(ctx, tx, *d, readdress, d.State, string(by))
	case shipped, delivered, failed, cancelled:
	}
	return errs.Refuse(now, "the delivery of %s is %s: its address cannot change", d.OrderKey, d.State)
}

// decide prepares a paid delivery whose address is known. If no carrier serves the
// address it fails the delivery and sends payment the command to refund.
func (s *service) decide(ctx context.Context, tx *bus.Tx, d *delivery, a address) error {
	by, reason := carrierFor(a)
	if by != nobody {
		d.Carrier = by
		return s.move(ctx, tx, d, prepare, string(by))
	}
	d.Reason = reason
	if err := s.move(ctx, tx, d, refuse, reason); err != nil {
		return err
	}
	return tx.Send(paymentapi.Refund{OrderKey: d.OrderKey, PaymentID: d.PaymentID, Reason: paymentapi.AddressNotServed, RequestID: d.ID.String()})
}

// ship records that the carrier took a prepared parcel.
func (s *service) ship(ctx context.Context, orderKey string, expected condition) error {
	return s.act(ctx, orderKey, expected, ship)
}

// deliver records that a shipped parcel reached its address.
func (s *service) deliver(ctx context.Context, orderKey string, expected condition) error {
	return s.act(ctx, orderKey, expected, deliver)
}

func (s *service) act(ctx context.Context, orderKey string, expected condition, a action) error {
	return s.db.InTx(ctx, func(tx *bus.Tx) error {
		d, err := lockDelivery(ctx, tx, orderKey)
		if err != nil {
			return err
		}
		if d.State == unpaid {
			return errs.New(errs.NotFound, "order %s has no delivery; it begins when the order is paid", orderKey)
		}
		now, err := stateOf(ctx, tx, d)
		if err != nil {
			return err
		}
		if err := expected(now); err != nil {
			return err
		}
		if d.did(a) {
			return nil // a repeated request
		}
		return s.progress(ctx, tx, &d, a)
	})
}

// progress ships or delivers a locked delivery.
func (s *service) progress(ctx context.Context, tx *bus.Tx, d *delivery, a action) error {
	if a == ship && d.State == prepared {
		n, err := nextTrackingNumber(ctx, tx)
		if err != nil {
			return err
		}
		d.TrackingNumber = d.Carrier.trackingNumber(n)
	}
	return s.move(ctx, tx, d, a, d.TrackingNumber)
}

// move changes the state of a delivery as the table moves allows, and writes the
// history and the event in the caller's transaction. No other function changes a
// state.
func (s *service) move(ctx context.Context, tx *bus.Tx, d *delivery, a action, note string) error {
	from := d.State
	to, allowed := moves[from][a]
	if !allowed {
		now, err := stateOf(ctx, tx, *d)
		if err != nil {
			return err
		}
		return errs.Refuse(now, "the delivery of %s is %s: it cannot %s", d.OrderKey, from, a)
	}
	d.State = to
	write := updateDelivery
	if from == unpaid {
		var err error
		if d.ID, err = uuid.NewV7(); err != nil {
			return err
		}
		write = insertDelivery
	}
	if err := write(ctx, tx, *d); err != nil {
		return err
	}
	if err := insertHistory(ctx, tx, *d, a, from, note); err != nil {
		return err
	}
	if _, more := moves[to]; more {
		tx.AfterCommit(s.moved)
	}
	if event := d.event(); event != nil {
		return tx.Publish(event)
	}
	return nil
}
