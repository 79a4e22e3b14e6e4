package inquiry

import (
	"context"

	"github.com/google/uuid"

	"millrace/modules/inquiry/inquiryapi"
	"millrace/platform/bus"
	"millrace/platform/errs"
)

// service holds the use cases. Each is one transaction.
type service struct{ db *bus.DB }

// say posts a message in the room of a consultation. A copy of an earlier one,
// known by its key, is answered with the earlier one.
func (s service) say(ctx context.Context, consultationID int64, what saying) (posted entry, err error) {
	defer errs.Wrap(&err, "post a message in the room of consultation %d", consultationID)
	if err := what.check(); err != nil {
		return entry{}, err
	}
	err = s.db.InTx(ctx, func(tx *bus.Tx) error {
		r, err := lockRoom(ctx, tx, consultationID)
		if err != nil {
			return err
		}
		before, found, err := messageOf(ctx, tx, r, what.key)
		if err != nil {
			return err
		}
		if found {
			posted = before
			if before.Speaker != what.speaker || before.Text != what.text {
				return errs.InvalidField("Idempotency-Key", "was used for another message; a new message needs a new key")
			}
			return nil
		}
		id, err := uuid.NewV7()
		if err != nil {
			return err
		}
		if posted, err = insertMessage(ctx, tx, r, id, what); err != nil {
			return err
		}
		return tx.Publish(inquiryapi.MessagePosted{
			RoomID: r.id.String(), ConsultationID: consultationID, MessageID: id.String(), Position: posted.Position, Speaker: what.speaker,
		})
	})
	return posted, err
}
