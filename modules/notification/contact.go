package notification

import (
	"errors"

	"millrace/modules/payment/paymentapi"
	"millrace/platform/errs"
	"millrace/platform/mail"
)

// language is the language of a user's mails.
type language string

// The languages.
const (
	korean  language = "ko"
	english language = "en"
)

// contact is a user's e-mail address and language. It leaves this module only
// as the recipient of a mail.
type contact struct {
	UserID   string
	Email    string
	Language language
}

// validate reports every invalid field. The error does not contain the address.
func (c contact) validate() error {
	var all []error
	if fault := paymentapi.UserIDFault(c.UserID); fault != "" {
		all = append(all, errs.InvalidField("userId", "%s", fault))
	}
	if _, err := mail.ParseAddress(c.Email); err != nil {
		all = append(all, errs.InvalidField("email", "%v", err))
	}
	if c.Language != korean && c.Language != english {
		all = append(all, errs.InvalidField("language", "is neither ko nor en"))
	}
	return errors.Join(all...)
}
