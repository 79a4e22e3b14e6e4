package notification

import (
	"errors"
	"regexp"

	"millrace/platform/errs"
)

// language is what a user reads.
type language string

// The languages.
const (
	korean  language = "ko"
	english language = "en"
)

// contact is where a user is reached. It never leaves this module but as the
// recipient of a mail.
type contact struct {
	UserID   string
	Email    string
	Language language
}

// emailForm is what browsers accept in a field for an address: ASCII, no
// quoting, no comments.
var emailForm = regexp.MustCompile(`^[a-zA-Z0-9.!#$%&'*+/=?^_{|}~-]{1,64}@[a-zA-Z0-9](?:[a-zA-Z0-9-]{0,61}[a-zA-Z0-9])?(?:\.[a-zA-Z0-9](?:[a-zA-Z0-9-]{0,61}[a-zA-Z0-9])?)*$`)

const longestEmail = 254 // RFC 5321, with the path's brackets taken off

// validate reports every field that is wrong. It does not repeat the address.
func (c contact) validate() error {
	var all []error
	if !userIDForm.MatchString(c.UserID) {
		all = append(all, errs.InvalidField("userId", "is not 1 to 64 letters, digits, '_', '.' and '-'"))
	}
	if len(c.Email) > longestEmail || !emailForm.MatchString(c.Email) {
		all = append(all, errs.InvalidField("email", "is not a mail address"))
	}
	if c.Language != korean && c.Language != english {
		all = append(all, errs.InvalidField("language", "is neither ko nor en"))
	}
	return errors.Join(all...)
}
