package notificationapi

import (
	"errors"
	"regexp"
)

var userForm = regexp.MustCompile(`^[A-Za-z0-9_.-]{1,64}$`)

// Validate returns an error that names every invalid field, or nil. The error
// quotes no text from the command. The bus calls it before the handler runs.
// The template and its parameters are checked by the handler.
func (c Send) Validate() error {
	var all []error
	if !userForm.MatchString(c.UserID) {
		all = append(all, errors.New("userId: must be 1 to 64 letters, digits, '_', '.' or '-'"))
	}
	if c.Template == "" {
		all = append(all, errors.New("template: is required"))
	}
	if c.Subject == "" || len(c.Subject) > 64 {
		all = append(all, errors.New("subject: must be an order key or a consultation id, 1 to 64 bytes"))
	}
	return errors.Join(all...)
}
