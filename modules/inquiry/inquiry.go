package inquiry

import (
	"strconv"
	"time"

	"github.com/google/uuid"

	"millrace/modules/consultation/consultationapi"
	"millrace/modules/inquiry/inquiryapi"
	"millrace/platform/errs"
	"millrace/platform/text"
)

// room is the chat of one consultation. memberID is nil while the customer is
// unknown.
type room struct {
	id             uuid.UUID
	consultationID int64
	hospitalID     int64
	memberID       *int64
	version        int64 // grows with every entry
}

// userID returns the customer's user ID in notification: the decimal member ID.
func (r room) userID() (string, bool) {
	if r.memberID == nil {
		return "", false
	}
	return strconv.FormatInt(*r.memberID, 10), true
}

// step is a change of a consultation's status, taken from an event. A zero move
// means that the status did not change.
type step struct {
	move
	prevState consultationapi.Status // empty for a booking
	at        time.Time
}

// maxText is the maximum length of a message in characters.
const maxText = 2000

// newMessage is a message to be posted.
type newMessage struct {
	speaker inquiryapi.Speaker
	text    string
}

func (s newMessage) check() error {
	stored, fault := text.Lines(s.text)
	switch {
	case s.speaker != inquiryapi.Customer && s.speaker != inquiryapi.Hospital:
		return errs.InvalidField("speaker", "is CUSTOMER or HOSPITAL")
	case fault != "":
		return errs.InvalidField("text", "%s", fault)
	case stored == "":
		return errs.InvalidField("text", "is empty")
	case text.Length(stored) > maxText:
		return errs.InvalidField("text", "has more than %d characters", maxText)
	}
	return nil
}
