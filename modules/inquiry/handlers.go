package inquiry

import (
	"context"

	"github.com/google/uuid"

	"millrace/modules/consultation/consultationapi"
	"millrace/modules/inquiry/inquiryapi"
	"millrace/modules/notification/notificationapi"
	"millrace/platform/bus"
)

// openRoom handles consultation.created: it creates the room and posts the
// booking's card, if there was a booking.
func (m *Module) openRoom(ctx context.Context, tx *bus.Tx, created consultationapi.Created) error {
	r, err := ensureRoom(ctx, tx, created.ConsultationID, created.HospitalID, &created.MemberID)
	if err != nil {
		return err
	}
	return follow(ctx, tx, r, step{
		move: move{created.StateTransition, created.StateTransitionActor}, at: created.TxDateTime.Instant(),
	})
}

// followConsultation handles consultation.changed: it posts the card of the
// move, if the table has one.
func (m *Module) followConsultation(ctx context.Context, tx *bus.Tx, changed consultationapi.Changed) error {
	r, err := ensureRoom(ctx, tx, changed.ConsultationID, changed.HospitalID, nil)
	if err != nil {
		return err
	}
	return follow(ctx, tx, r, step{
		move: move{changed.StateTransition, changed.StateTransitionActor}, prevState: changed.PrevState, at: changed.TxDateTime.Instant(),
	})
}

// follow posts the card that the table has for the step, publishes
// inquiry.card_posted, and sends a notification to the customer.
func follow(ctx context.Context, tx *bus.Tx, r room, s step) error {
	card, ok := statusCards[s.move]
	if !ok {
		return nil
	}
	id, err := uuid.NewV7()
	if err != nil {
		return err
	}
	position, err := insertCard(ctx, tx, r, id, card, s, tx.Cause().ID)
	if err != nil {
		return err
	}
	err = tx.Publish(inquiryapi.CardPosted{
		RoomID: r.id.String(), ConsultationID: r.consultationID, CardID: id.String(), Position: position,
		Card: card.card, Transition: string(s.transition), Actor: string(s.actor), Speaker: card.speaker,
	})
	if err != nil {
		return err
	}
	userID, known := r.userID()
	if !known {
		return nil // the customer is unknown: see the package comment
	}
	return tx.Send(notificationapi.Send{
		UserID: userID, Template: card.template, Subject: consultationapi.Key(r.consultationID),
		Params: map[string]string{
			notificationapi.ParamConsultationID: consultationapi.Key(r.consultationID),
			notificationapi.ParamActor:          string(s.actor),
		},
	})
}
