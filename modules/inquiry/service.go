package inquiry

import (
	"context"
	"fmt"

	"github.com/google/uuid"

	"millrace/modules/inquiry/inquiryapi"
	"millrace/platform/bus"
	"millrace/platform/errs"
	"millrace/platform/web"
)

// service implements the module's operations. Each is one transaction.
type service struct{ db *bus.DB }

// outcome is what a request to post did, stored for its copies.
type outcome struct {
	Position int64 `json:"position"`
}

// post stores a message in the room of a consultation. A repeated request gets
// the message that the first one stored, and version 0. expected checks the
// current version under the room's lock.
func (s service) post(ctx context.Context, consultationID int64, key string, expected func(now errs.State) error, what newMessage) (posted entry, version int64, err error) {
	defer errs.Wrap(&err, "post a message in the room of consultation %d", consultationID)
	if err := what.check(); err != nil {
		return entry{}, 0, err
	}
	once, err := web.NewRequest(fmt.Sprintf("message %d", consultationID), string(what.speaker), key, what.text)
	if err != nil {
		return entry{}, 0, err
	}
	err = s.db.InTx(ctx, func(tx *bus.Tx) error {
		r, err := lockRoom(ctx, tx, consultationID)
		if err != nil {
			return err
		}
		done, repeated, err := web.Once(ctx, tx, once, func() (outcome, error) {
			if err := expected(errs.State{Version: r.version}); err != nil {
				return outcome{}, err
			}
			posted, err = insertNew(ctx, tx, r, what)
			version = r.version + 1
			return outcome{Position: posted.Position}, err
		})
		if err != nil || !repeated {
			return err
		}
		posted, err = messageAt(ctx, tx, r, done.Position)
		return err
	})
	return posted, version, err
}

// insertNew stores a message in a locked room and publishes the event.
func insertNew(ctx context.Context, tx *bus.Tx, r room, what newMessage) (entry, error) {
	id, err := uuid.NewV7()
	if err != nil {
		return entry{}, err
	}
	posted, err := insertMessage(ctx, tx, r, id, what)
	if err != nil {
		return entry{}, err
	}
	return posted, tx.Publish(inquiryapi.MessagePosted{
		RoomID: r.id.String(), ConsultationID: r.consultationID, MessageID: id.String(), Position: posted.Position, Speaker: what.speaker,
	})
}
