package consultation

import (
	"context"
	"fmt"

	"millrace/modules/consultation/consultationapi"
	"millrace/modules/payment/paymentapi"
	"millrace/platform/bus"
	"millrace/platform/errs"
)

// service holds the use cases. Each is one transaction.
type service struct{ db *bus.DB }

// create raises a consultation. A customer's is a booking, which is its first
// move; one that the hospital opens has made no move yet. It returns the
// consultation as it was made, for a copy of the request too: what the row does
// not keep from then is in the request.
func (s service) create(ctx context.Context, r request, c consultation) (made record, err error) {
	defer errs.Wrap(&err, "create a consultation")
	err = s.db.InTx(ctx, func(tx *bus.Tx) error {
		before, err := claim(ctx, tx, r)
		if err != nil {
			return err
		}
		c.status = consultationapi.Received
		if before.done {
			if c.id, c.raisedAt, err = raised(ctx, tx, before.consultationID); err != nil {
				return err
			}
			made = asMade(c)
			return nil
		}
		if c, err = insert(ctx, tx, c); err != nil {
			return err
		}
		made = asMade(c)
		event := consultationapi.Created{
			ConsultationID: c.id, HospitalID: c.hospitalID, MemberID: c.memberID,
			TxDateTime: consultationapi.At(c.raisedAt), RaisedAt: consultationapi.At(c.raisedAt),
		}
		var first move
		if len(made.history) > 0 {
			first = made.history[0]
			if err := insertMove(ctx, tx, c.id, first); err != nil {
				return err
			}
			event.StateTransition, event.StateTransitionActor = first.Transition, first.Actor
		}
		if err := settle(ctx, tx, r, c.id, first.Position); err != nil {
			return err
		}
		return tx.Publish(event)
	})
	return made, err
}

// change gives fields of a consultation other values; edit returns them. What
// it returns is read before the commit: a change that is answered with a
// failure to read was not made.
func (s service) change(ctx context.Context, id int64, edit func(fields) fields) (now record, err error) {
	defer errs.Wrap(&err, "change consultation %d", id)
	err = s.db.InTx(ctx, func(tx *bus.Tx) error {
		c, err := lock(ctx, tx, id)
		if err != nil {
			return err
		}
		if edited := edit(c.fields); edited != c.fields { // else there is nothing to tell
			c.fields = edited
			if c, err = update(ctx, tx, c); err != nil {
				return err
			}
			if err := tx.Publish(changed(c)); err != nil {
				return err
			}
		}
		now, err = read(ctx, tx, id)
		return err
	})
	return now, err
}

// move fulfils a wish and returns the row of history that it made.
func (s service) move(ctx context.Context, r request, id int64, w wish) (made move, err error) {
	defer errs.Wrap(&err, "move consultation %d", id)
	err = s.db.InTx(ctx, func(tx *bus.Tx) error {
		before, err := claim(ctx, tx, r)
		if err != nil {
			return err
		}
		if before.done {
			made, err = moveAt(ctx, tx, before.consultationID, before.position)
			return err
		}
		c, err := lock(ctx, tx, id)
		if err != nil {
			return err
		}
		if made, err = advance(ctx, tx, c, w); err != nil {
			return err
		}
		return settle(ctx, tx, r, id, made.Position)
	})
	return made, err
}

// advance moves a locked consultation: the row, its history, the event, and the
// refund of a deposit if the move calls the consultation off.
func advance(ctx context.Context, tx *bus.Tx, c consultation, w wish) (move, error) {
	made, err := c.next(w)
	if err != nil {
		return made, err
	}
	c.status, c.reservationAt, c.moves = made.To, made.ReservationAt, made.Position
	if c, err = update(ctx, tx, c); err != nil {
		return made, err
	}
	made.At = c.changedAt
	if err := insertMove(ctx, tx, c.id, made); err != nil {
		return made, err
	}
	event := changed(c)
	event.StateTransition, event.StateTransitionActor, event.PrevState = made.Transition, made.Actor, made.From
	if err := tx.Publish(event); err != nil {
		return made, err
	}
	if !cancels(made.To) {
		return made, nil
	}
	return made, refundDeposit(ctx, tx, c.id, fmt.Sprintf("the consultation was %s by %s", made.To, made.Actor))
}

// refundDeposit asks payment to give back a deposit that is paid. It asks once:
// a deposit that was asked for, or went back, is not paid any more.
func refundDeposit(ctx context.Context, tx *bus.Tx, id int64, reason string) error {
	payment, err := requestRefund(ctx, tx, id)
	if err != nil || payment == "" {
		return err
	}
	return tx.Send(paymentapi.Refund{OrderKey: depositOrder(id), Reason: reason, RequestID: payment})
}

// changed is the event of a change that moved nothing.
func changed(c consultation) consultationapi.Changed {
	return consultationapi.Changed{
		ConsultationID: c.id, HospitalID: c.hospitalID,
		TxDateTime: consultationapi.At(c.changedAt), RaisedAt: consultationapi.At(c.raisedAt),
	}
}
