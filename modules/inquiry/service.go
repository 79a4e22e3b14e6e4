package inquiry

import (
	"context"

	"github.com/google/uuid"

	"millrace/modules/inquiry/inquiryapi"
	"millrace/platform/bus"
	"millrace/platform/errs"
)

// service implements the module's operations. Each is one transaction.
type service struct{ db *bus.DB }

// post stores a message in the room of a consultation. If the room already has
// a message with the same idempotency key, it returns that message and version
// 0. expected checks the current version under the room's lock.
func (s service) post(ctx context.Context, consultationID int64, expected func(now errs.State) error, what newMessage) (posted entry, version int64, err error) {
	defer errs.Wrap(&err, "post a message in the room of consultation %d", consultationID)
	if err := what.check(); err != nil {
		return entry{}, 0, err
	}
	err = s.db.InTx(ctx, func(tx *bus.Tx) error {
		r, err := lockRoom(ctx, tx, consultationID)
		if err != nil {
			return err
		}
		before, found, err := messageOf(ctx, tx, r, what)
		if err != nil {
			return err
		}
		if found {
			posted = before
			if before.Text != what.text {
				return errs.InvalidField("Idempotency-Key", "was used for another message; a new message needs a new key")
			}
			return nil
		}
		if err := expected(errs.State{Version: r.version}); err != nil {
			return err
		}
		id, err := uuid.NewV7()
		if err != nil {
			return err
		}
		if posted, err = insertMessage(ctx, tx, r, id, what); err != nil {
			return err
		}
		version = r.version + 1
		return tx.Publish(inquiryapi.MessagePosted{
			RoomID: r.id.String(), ConsultationID: consultationID, MessageID: id.String(), Position: posted.Position, Speaker: what.speaker,
		})
	})
	return posted, version, err
}
