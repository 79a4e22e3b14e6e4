package notification

import (
	"context"

	"github.com/google/uuid"

	"millrace/modules/notification/notificationapi"
	"millrace/platform/bus"
	"millrace/platform/dispatch"
	"millrace/platform/errs"
	"millrace/platform/mail"
)

// service is what may be done with notifications.
type service struct {
	db     *bus.DB
	sender *mail.Sender
	mails  *dispatch.Dispatcher[intent, struct{}]
}

// intent is a mail to be sent. It holds no address and no text: both are read
// when the mail is made, so that a corrected address is used at once.
type intent struct {
	NotificationID uuid.UUID `json:"notificationId"`
}

// tell notes a notification for the message being handled, and the mail if the
// user can be reached. A message that has its notification gets no second one.
func (s *service) tell(ctx context.Context, tx *bus.Tx, n notification) (err error) {
	n.CauseID, n.CauseType = tx.Cause().ID, tx.Cause().Type
	if err := n.check(); err != nil {
		return err
	}
	if n.ID, err = uuid.NewV7(); err != nil {
		return err
	}
	if err := lockUser(ctx, tx, n.UserID); err != nil {
		return err
	}
	reachable, err := hasContact(ctx, tx, n.UserID)
	if err != nil {
		return err
	}
	n.State = awaitingContact
	if reachable {
		n.State = queued
	}
	inserted, err := insertNotification(ctx, tx, n)
	if err != nil || !inserted || !reachable {
		return err
	}
	return s.queue(ctx, tx, n)
}

// setContact says where a user is reached, and releases what waited for it.
func (s *service) setContact(ctx context.Context, c contact) (released int, err error) {
	if err := c.validate(); err != nil {
		return 0, err
	}
	err = s.db.InTx(ctx, func(tx *bus.Tx) error {
		if err := lockUser(ctx, tx, c.UserID); err != nil {
			return err
		}
		if err := saveContact(ctx, tx, c); err != nil {
			return err
		}
		waiting, err := release(ctx, tx, c.UserID)
		if err != nil {
			return err
		}
		for _, n := range waiting {
			if err := s.queue(ctx, tx, n); err != nil {
				return err
			}
		}
		released = len(waiting)
		return nil
	})
	return released, err
}

func (s *service) queue(ctx context.Context, tx *bus.Tx, n notification) error {
	_, err := s.mails.Record(ctx, tx, n.Subject, intent{NotificationID: n.ID})
	return err
}

// send makes the mail and hands it to the server. It is at least once: the
// Message-ID is the notification's, the same for every attempt.
func (s *service) send(ctx context.Context, in dispatch.Intent[intent]) (none struct{}, err error) {
	var n notification
	var c contact
	if err := s.db.InTx(ctx, func(tx *bus.Tx) error {
		n, c, err = begin(ctx, tx, in.Payload.NotificationID, in.Attempt)
		return err
	}); err != nil {
		return none, err
	}
	r, err := render(n, c.Language)
	if err != nil {
		return none, err
	}
	return none, s.sender.Send(ctx, mail.Message{
		ID: n.ID.String(), To: c.Email, Subject: r.Title, Text: r.Text, HTML: r.HTML, Language: string(c.Language),
	})
}

// settle records the end and says it.
func (s *service) settle(ctx context.Context, tx *bus.Tx, in dispatch.Intent[intent], out dispatch.Outcome[struct{}]) error {
	if out.Err == nil {
		n, err := settle(ctx, tx, in.Payload.NotificationID, sent, out.Attempts, "")
		if err != nil {
			return err
		}
		return tx.Publish(notificationapi.Sent{
			NotificationID: n.ID.String(), UserID: n.UserID, Template: n.Template, Subject: n.Subject, CauseID: n.CauseID.String(),
		})
	}
	reason := reasonOf(out.Err)
	n, err := settle(ctx, tx, in.Payload.NotificationID, failed, out.Attempts, reason)
	if err != nil {
		return err
	}
	return tx.Publish(notificationapi.Failed{
		NotificationID: n.ID.String(), UserID: n.UserID, Template: n.Template, Subject: n.Subject, CauseID: n.CauseID.String(), Reason: reason,
	})
}

// reasonOf is what may be said of a failure in an event. Package mail writes
// errors without addresses; of another's, only the kind is told.
func reasonOf(err error) string {
	if kind := errs.KindOf(err); kind == errs.Invalid || kind == errs.Resource {
		const longest = 200
		if text := []rune(err.Error()); len(text) > 0 {
			return string(text[:min(longest, len(text))])
		}
	}
	return "the mail could not be sent (" + errs.KindOf(err).String() + ")"
}
