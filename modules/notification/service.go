package notification

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/google/uuid"

	"millrace/modules/notification/notificationapi"
	"millrace/platform/bus"
	"millrace/platform/errs"
	"millrace/platform/mail"
	"millrace/platform/outbound"
	"millrace/platform/redact"
)

// service implements the module's operations.
type service struct {
	db     *bus.DB
	sender *mail.Sender
	mails  *outbound.Queue[mailCall, result]
	limits limits
}

// mailCall is the payload of a call that sends one mail: of one notification or
// of one digest. It holds no address and no text: both are read when the mail
// is rendered, so that a corrected address applies at once.
type mailCall struct {
	NotificationID uuid.UUID `json:"notificationId,omitzero"`
	DigestID       uuid.UUID `json:"digestId,omitzero"`
	Recipient      string    `json:"recipient,omitempty"` // for a digest, with Kind
	Kind           kind      `json:"kind,omitempty"`
}

// result is the result of a call that did not fail.
type result struct {
	none bool // no mail was sent: the notification is in a digest, or was sent before
}

// notify records a notification for the message being handled, and a call that
// sends the mail if the user has a contact. Handling the same message again
// adds nothing.
func (s *service) notify(ctx context.Context, tx *bus.Tx, n notification) (err error) {
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

// releaseAtOnce is how many waiting notifications one transaction queues. Each
// adds a row for its call.
const releaseAtOnce = 100

// setContact stores a user's contact and queues the notifications that waited
// for it. expected checks the current version under the lock on the user. It
// returns how many were queued and the contact's version.
//
// If more than releaseAtOnce notifications wait, the rest are queued in further
// transactions. If one of those fails or the process ends, releaseAll queues
// them later.
func (s *service) setContact(ctx context.Context, expected func(now errs.State) error, c contact) (released int, version int64, err error) {
	if err := c.validate(); err != nil {
		return 0, 0, err
	}
	address, err := mail.ParseAddress(c.Email)
	if err != nil {
		return 0, 0, err
	}
	c.Email = address.String() // the normalized form that mails use
	err = s.db.InTx(ctx, func(tx *bus.Tx) error {
		if err := lockUser(ctx, tx, c.UserID); err != nil {
			return err
		}
		before, err := contactVersion(ctx, tx, c.UserID)
		if err != nil {
			return err
		}
		if err := expected(errs.State{Version: before}); err != nil {
			return err
		}
		if version, err = saveContact(ctx, tx, c); err != nil {
			return err
		}
		released, err = s.release(ctx, tx, c.UserID)
		return err
	})
	if err != nil {
		return 0, 0, err
	}
	for n := released; n == releaseAtOnce; released += n {
		if n, err = s.releaseMore(ctx, c.UserID); err != nil {
			slog.WarnContext(ctx, "notifications that wait for a contact are queued later", "error", redact.Error(err), "kind", errs.KindOf(err))
			break
		}
	}
	return released, version, nil
}

// release queues the next notifications that wait for a user's contact, oldest
// first.
func (s *service) release(ctx context.Context, tx *bus.Tx, userID string) (released int, err error) {
	waiting, err := release(ctx, tx, userID, releaseAtOnce)
	if err != nil {
		return 0, err
	}
	for _, n := range waiting {
		if err := s.queue(ctx, tx, n); err != nil {
			return 0, err
		}
	}
	return len(waiting), nil
}

func (s *service) releaseMore(ctx context.Context, userID string) (released int, err error) {
	err = s.db.InTx(ctx, func(tx *bus.Tx) error {
		if err := lockUser(ctx, tx, userID); err != nil {
			return err
		}
		released, err = s.release(ctx, tx, userID)
		return err
	})
	return released, err
}

// releasePeriodically calls releaseAll every interval until ctx ends.
func (s *service) releasePeriodically(ctx context.Context, every time.Duration) {
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		if err := s.releaseAll(ctx); err != nil && ctx.Err() == nil {
			slog.Warn("cannot look for notifications that wait though their contact is there", "error", redact.Error(err), "kind", errs.KindOf(err))
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// releaseAll queues notifications that still wait although their user has a
// contact, because a process ended between the transactions of setContact.
func (s *service) releaseAll(ctx context.Context) error {
	for {
		userID, err := userToRelease(ctx, s.db)
		if err != nil || userID == "" {
			return err
		}
		if _, err := s.releaseMore(ctx, userID); err != nil {
			return err
		}
	}
}

func (s *service) queue(ctx context.Context, tx *bus.Tx, n notification) error {
	_, err := s.mails.Record(ctx, tx, n.Subject, mailCall{NotificationID: n.ID})
	return err
}

// send renders the mail and sends it. Sending is at least once: every attempt
// uses the same Message-ID, the ID of the notification or the digest.
func (s *service) send(ctx context.Context, call outbound.Call[mailCall]) (result, error) {
	prepare, cancel := context.WithTimeout(ctx, callTimeout/2) // the mail server has the rest
	defer cancel()
	m, err := s.make(prepare, call)
	if err != nil || m == nil {
		return result{none: true}, err
	}
	return result{}, delayAll(s.sender.Send(ctx, *m))
}

// make records an attempt and renders the mail; it returns nil if there is
// nothing to send.
func (s *service) make(ctx context.Context, call outbound.Call[mailCall]) (*mail.Message, error) {
	if call.Payload.DigestID != uuid.Nil {
		return s.makeDigest(ctx, call)
	}
	var n notification
	var c contact
	var sends bool
	if err := s.db.InTx(ctx, func(tx *bus.Tx) (err error) {
		if n, c, sends, err = lockToSend(ctx, tx, call.Payload.NotificationID); err != nil || !sends {
			return err
		}
		recipient := recipientOf(c.Email)
		if recipient != n.Recipient { // not counted yet, or counted for another mailbox
			if sends, err = s.admit(ctx, tx, n, recipient); err != nil || !sends {
				return err
			}
		}
		return begin(ctx, tx, n.ID, recipient, call.Attempt)
	}); err != nil || !sends {
		return nil, outbound.NotMade(err)
	}
	r, err := render(n, c.Language)
	if err != nil {
		return nil, err
	}
	return message(n.ID, c, r), nil
}

func message(id uuid.UUID, c contact, r rendered) *mail.Message {
	return &mail.Message{ID: id.String(), To: c.Email, Subject: r.Title, Text: r.Text, HTML: r.HTML, Language: string(c.Language)}
}

// The longest pauses between two probes while all mails are delayed. Failed
// sign-ins may lock an account, so a rejected account is probed less often.
const (
	longestAccount = 5 * time.Minute
	longestAway    = 20 * time.Second
)

// delayAll returns a Delay for an error that affects every mail, else err.
func delayAll(err error) error {
	var failed *mail.Error
	switch {
	case err == nil:
		return nil
	case errors.As(err, &failed) && failed.Meaning == mail.Account:
		return &outbound.Delay{Err: err, Fix: failed.Fix, Longest: longestAccount}
	case errors.As(err, &failed) && failed.Meaning == mail.Unreachable:
		return &outbound.Delay{Err: err, Fix: failed.Fix, Longest: longestAway}
	}
	return err
}

// waits records that a mail waits for its next attempt.
func (s *service) waits(ctx context.Context, tx *bus.Tx, call outbound.Call[mailCall], attempts int, _ error) error {
	if call.Payload.DigestID != uuid.Nil {
		return recollect(ctx, tx, call.Payload.DigestID, attempts)
	}
	return requeue(ctx, tx, call.Payload.NotificationID, attempts)
}

// complete records the final state of the call's notifications and publishes it.
func (s *service) complete(ctx context.Context, tx *bus.Tx, call outbound.Call[mailCall], out outbound.Outcome[result]) error {
	if out.Err == nil && out.Result.none {
		return nil
	}
	ids := []uuid.UUID{call.Payload.NotificationID}
	if call.Payload.DigestID != uuid.Nil {
		var err error
		if ids, err = takeCollected(ctx, tx, call.Payload.DigestID, out.Err == nil); err != nil {
			return err
		}
	}
	for _, id := range ids {
		if err := completeOne(ctx, tx, id, out); err != nil {
			return err
		}
	}
	return nil
}

func completeOne(ctx context.Context, tx *bus.Tx, id uuid.UUID, out outbound.Outcome[result]) error {
	if out.Err == nil {
		n, changed, err := recordFinal(ctx, tx, id, sent, out.Attempts, "")
		if err != nil || !changed {
			return err
		}
		return tx.Publish(notificationapi.Sent{
			NotificationID: n.ID.String(), UserID: n.UserID, Template: n.Template, Subject: n.Subject, CauseID: n.CauseID.String(),
		})
	}
	reason := reasonOf(out.Err)
	n, changed, err := recordFinal(ctx, tx, id, failed, out.Attempts, reason)
	if err != nil || !changed {
		return err
	}
	return tx.Publish(notificationapi.Failed{
		NotificationID: n.ID.String(), UserID: n.UserID, Template: n.Template, Subject: n.Subject, CauseID: n.CauseID.String(), Reason: reason,
	})
}

// reasonOf returns the reason that an event may contain. Errors of package mail
// contain no address; for other errors it returns only the kind.
func reasonOf(err error) string {
	if kind := errs.KindOf(err); kind == errs.Invalid || kind == errs.Resource {
		const longest = 200
		if text := []rune(redact.Text(err.Error())); len(text) > 0 {
			return string(text[:min(longest, len(text))])
		}
	}
	return "the mail could not be sent (" + errs.KindOf(err).String() + ")"
}
