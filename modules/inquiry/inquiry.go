package inquiry

import (
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/google/uuid"

	"millrace/modules/consultation/consultationapi"
	"millrace/modules/inquiry/inquiryapi"
	"millrace/platform/errs"
)

// room is the chat of one consultation. memberID is nil while the customer is
// not known.
type room struct {
	id             uuid.UUID
	consultationID int64
	hospitalID     int64
	memberID       *int64
}

// userID is the customer as notification knows users: the decimal member id.
func (r room) userID() (string, bool) {
	if r.memberID == nil {
		return "", false
	}
	return strconv.FormatInt(*r.memberID, 10), true
}

// step is what an event says about the status; the zero did is no move.
type step struct {
	did
	prevState consultationapi.Status // empty for a booking
	at        time.Time
}

// maxText is the length of a message in characters.
const maxText = 2000

// saying is a message that somebody wants to post.
type saying struct {
	speaker inquiryapi.Speaker
	text    string
	key     string // the client's Idempotency-Key, or ""
}

func (s saying) check() error {
	switch {
	case s.speaker != inquiryapi.Customer && s.speaker != inquiryapi.Hospital:
		return errs.InvalidField("speaker", "is CUSTOMER or HOSPITAL")
	case strings.TrimSpace(s.text) == "":
		return errs.InvalidField("text", "is empty")
	case utf8.RuneCountInString(s.text) > maxText:
		return errs.InvalidField("text", "has more than %d characters", maxText)
	case strings.ContainsRune(s.text, 0): // the one character that PostgreSQL cannot keep in a text
		return errs.InvalidField("text", "contains the character U+0000")
	}
	return nil
}
