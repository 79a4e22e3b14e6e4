package consultation

import (
	"context"

	"millrace/modules/consultation/consultationapi"
	"millrace/modules/payment/paymentapi"
	"millrace/platform/bus"
	"millrace/platform/errs"
	"millrace/platform/web"
)

// condition checks what the caller of a change expects. It is called under the
// row's lock, before anything is changed.
type condition func(now errs.State) error

// service holds the use cases. Each one runs in a single transaction.
type service struct{ db *bus.DB }

// create stores a new consultation. One that a customer booked starts with a move;
// one that a hospital opened has no move yet. create returns the consultation as
// it was created, also for a repeated request; it builds that from the request,
// because the row may have changed since.
func (s service) create(ctx context.Context, r web.Request, c consultation) (made record, err error) {
	defer errs.Wrap(&err, "create a consultation")
	c.status = consultationapi.Received
	err = s.db.InTx(ctx, func(tx *bus.Tx) error {
		done, repeated, err := web.Once(ctx, tx, r, func() (outcome, error) {
			made, err = insertNew(ctx, tx, c)
			return outcome{ConsultationID: made.id}, err
		})
		if err != nil || !repeated {
			return err
		}
		if c.id, c.raisedAt, err = readRaised(ctx, tx, done.ConsultationID); err != nil {
			return err
		}
		made = newRecord(c)
		return nil
	})
	return made, err
}

// outcome is what a request did, stored for its copies.
type outcome struct {
	ConsultationID int64 `json:"consultationId"`
	Position       int64 `json:"position,omitempty"` // the row of history that a move made
}

// insertNew stores a new consultation with its first move, if it has one, and
// publishes the event.
func insertNew(ctx context.Context, tx *bus.Tx, c consultation) (made record, err error) {
	if c, err = insert(ctx, tx, c); err != nil {
		return made, err
	}
	made = newRecord(c)
	event := consultationapi.Created{
		ConsultationID: c.id, HospitalID: c.hospitalID, MemberID: c.memberID,
		TxDateTime: consultationapi.At(c.raisedAt), RaisedAt: consultationapi.At(c.raisedAt),
	}
	if len(made.history) > 0 {
		first := made.history[0]
		if err := insertMove(ctx, tx, c.id, first); err != nil {
			return made, err
		}
		event.StateTransition, event.StateTransitionActor = first.Transition, first.Actor
	}
	return made, tx.Publish(event)
}

// change edits fields of a consultation; edit returns the new values. It reads the
// result before the commit, so that an error means that nothing was changed.
func (s service) change(ctx context.Context, id int64, expected condition, edit func(fields) fields) (now record, err error) {
	defer errs.Wrap(&err, "change consultation %d", id)
	err = s.db.InTx(ctx, func(tx *bus.Tx) error {
		c, err := lock(ctx, tx, id)
		if err != nil {
			return err
		}
		if err := expected(c.state()); err != nil {
			return err
		}
		if edited := edit(c.fields); edited != c.fields { // otherwise there is nothing to publish
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

// move makes a requested move. It returns the row of history and the
// consultation's version. A repeated request gets the earlier row without a check
// of the condition, and version 0: the caller must not use an old response as a
// condition for another change.
func (s service) move(ctx context.Context, r web.Request, id int64, expected condition, want moveRequest) (made move, version int64, err error) {
	defer errs.Wrap(&err, "move consultation %d", id)
	err = s.db.InTx(ctx, func(tx *bus.Tx) error {
		done, repeated, err := web.Once(ctx, tx, r, func() (outcome, error) {
			c, err := lock(ctx, tx, id)
			if err != nil {
				return outcome{}, err
			}
			if err := expected(c.state()); err != nil {
				return outcome{}, err
			}
			made, version, err = advance(ctx, tx, c, want)
			return outcome{ConsultationID: id, Position: made.Position}, err
		})
		if err != nil || !repeated {
			return err
		}
		made, err = moveAt(ctx, tx, done.ConsultationID, done.Position)
		return err
	})
	return made, version, err
}

// advance moves a locked consultation: it writes the row and its history,
// publishes the event, and requests the refund of a deposit if the move calls the
// consultation off. It returns the move and the new version. The deposit counts as
// being refunded from this transaction on, so no confirmation can follow.
func advance(ctx context.Context, tx *bus.Tx, c consultation, want moveRequest) (move, int64, error) {
	paid, err := depositOf(ctx, tx, c.id)
	if err != nil {
		return move{}, 0, err
	}
	made, err := c.next(want, paid)
	if err != nil {
		return made, 0, err
	}
	c.status, c.reservationAt, c.moves = made.To, made.ReservationAt, made.Position
	if c, err = update(ctx, tx, c); err != nil {
		return made, 0, err
	}
	made.At = c.changedAt
	if err := insertMove(ctx, tx, c.id, made); err != nil {
		return made, 0, err
	}
	event := changed(c)
	event.StateTransition, event.StateTransitionActor, event.PrevState = made.Transition, made.Actor, made.From
	if err := tx.Publish(event); err != nil {
		return made, 0, err
	}
	if cancels(made.To) {
		err = refundDeposit(ctx, tx, c.id, paymentapi.ConsultationEnded(string(made.To), string(made.Actor)))
	}
	return made, c.version, err
}

// refundDeposit sends payment the command to refund the paid deposits. It sends
// each command once, because the deposit is then no longer in state paid.
func refundDeposit(ctx context.Context, tx *bus.Tx, id int64, reason string) error {
	payments, err := requestRefunds(ctx, tx, id)
	if err != nil {
		return err
	}
	for _, payment := range payments {
		if err := tx.Send(paymentapi.Refund{OrderKey: depositOrder(id), PaymentID: payment, Reason: reason, RequestID: payment}); err != nil {
			return err
		}
	}
	return nil
}

// changed returns the event of a change without a move.
func changed(c consultation) consultationapi.Changed {
	return consultationapi.Changed{
		ConsultationID: c.id, HospitalID: c.hospitalID,
		TxDateTime: consultationapi.At(c.changedAt), RaisedAt: consultationapi.At(c.raisedAt),
	}
}
