package delivery

import (
	"context"

	"github.com/google/uuid"

	"millrace/modules/payment/paymentapi"
	"millrace/platform/bus"
	"millrace/platform/errs"
)

// unreachable is what payment is told; it ends up in the user's mail.
const unreachable = "address cannot be served"

// service is what may be done with deliveries, each in one transaction.
type service struct {
	db    *bus.DB
	moved func() // called after a commit that gave the warehouse or the carrier something to do
}

// setAddress says where an order goes. It may be said before the order is paid
// or while it waits, and again until the parcel is shipped.
func (s *service) setAddress(ctx context.Context, orderKey string, a address) (d delivery, err error) {
	if kind, ok := paymentapi.KindOf(orderKey); !ok || kind != paymentapi.Goods {
		return d, errs.InvalidField("orderKey", "is not the key of an order of goods")
	}
	a = a.tidy()
	if err := a.validate(); err != nil {
		return d, err
	}
	err = s.db.InTx(ctx, func(tx *bus.Tx) error {
		if err := lockOrder(ctx, tx, orderKey); err != nil {
			return err
		}
		if d, err = lockDelivery(ctx, tx, orderKey); err != nil {
			return err
		}
		known, found, err := findAddress(ctx, tx, orderKey)
		if err != nil {
			return err
		}
		if found && known == a {
			return nil // a repeated request
		}
		switch d.State {
		case unpaid:
			return saveAddress(ctx, tx, orderKey, a)
		case awaitingAddress:
			if err := saveAddress(ctx, tx, orderKey, a); err != nil {
				return err
			}
			return s.decide(ctx, tx, &d, a)
		case prepared:
			by, reason := carrierFor(a)
			if by == nobody {
				return errs.InvalidField("postcode", "%s; the parcel keeps its address", reason)
			}
			d.Carrier = by
			if err := saveAddress(ctx, tx, orderKey, a); err != nil {
				return err
			}
			if err := updateDelivery(ctx, tx, d); err != nil {
				return err
			}
			return insertHistory(ctx, tx, d, readdress, d.State, string(by))
		case shipped, delivered, failed, cancelled:
		}
		return errs.New(errs.Conflict, "the delivery of %s is %s: its address cannot change", orderKey, d.State)
	})
	return d, err
}

// decide prepares a paid delivery whose address is known, or fails it and asks
// payment to give the money back.
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
	return tx.Send(paymentapi.Refund{OrderKey: d.OrderKey, Reason: unreachable, RequestID: d.ID.String()}) // payment is expected to act
}

// ship gives a prepared parcel to the carrier that serves its address.
func (s *service) ship(ctx context.Context, orderKey string) (delivery, error) {
	return s.act(ctx, orderKey, ship)
}

// deliver says that a shipped parcel reached its address.
func (s *service) deliver(ctx context.Context, orderKey string) (delivery, error) {
	return s.act(ctx, orderKey, deliver)
}

func (s *service) act(ctx context.Context, orderKey string, a action) (d delivery, err error) {
	err = s.db.InTx(ctx, func(tx *bus.Tx) error {
		if d, err = lockDelivery(ctx, tx, orderKey); err != nil {
			return err
		}
		if d.State == unpaid {
			return errs.New(errs.NotFound, "order %s has no delivery; it begins when the order is paid", orderKey)
		}
		if d.did(a) {
			return nil // a repeated request
		}
		return s.progress(ctx, tx, &d, a)
	})
	return d, err
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

// move is the one place where a delivery changes its state: by the table, with
// its row of history and its event, in the caller's transaction.
func (s *service) move(ctx context.Context, tx *bus.Tx, d *delivery, a action, note string) error {
	from := d.State
	to, allowed := moves[from][a]
	if !allowed {
		return errs.New(errs.Conflict, "the delivery of %s is %s: it cannot %s", d.OrderKey, from, a)
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
