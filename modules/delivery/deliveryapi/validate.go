package deliveryapi

import (
	"errors"
	"regexp"
)

var userForm = regexp.MustCompile(`^[A-Za-z0-9_.-]{1,64}$`)

// Validate returns an error that names every invalid field, or nil. It does not
// quote values. The bus calls it before any handler.
func (e Prepared) Validate() error { return validate(e.DeliveryID, e.OrderKey, e.UserID) }

// Validate works like [Prepared.Validate].
func (e Shipped) Validate() error {
	return errors.Join(validate(e.DeliveryID, e.OrderKey, e.UserID), parcel(e.Carrier, e.TrackingNumber))
}

// Validate works like [Prepared.Validate].
func (e Delivered) Validate() error {
	return errors.Join(validate(e.DeliveryID, e.OrderKey, e.UserID), parcel(e.Carrier, e.TrackingNumber))
}

// Validate works like [Prepared.Validate].
func (e Failed) Validate() error { return validate(e.DeliveryID, e.OrderKey, e.UserID) }

// Validate works like [Prepared.Validate].
func (e Cancelled) Validate() error { return validate(e.DeliveryID, e.OrderKey, e.UserID) }

func validate(deliveryID, orderKey, userID string) error {
	var all []error
	if deliveryID == "" {
		all = append(all, errors.New("deliveryId: is required"))
	}
	if orderKey == "" {
		all = append(all, errors.New("orderKey: is required"))
	}
	if !userForm.MatchString(userID) {
		all = append(all, errors.New("userId: must be 1 to 64 letters, digits, '_', '.' or '-'"))
	}
	return errors.Join(all...)
}

func parcel(carrier, trackingNumber string) error {
	var all []error
	if carrier == "" {
		all = append(all, errors.New("carrier: is required"))
	}
	if trackingNumber == "" {
		all = append(all, errors.New("trackingNumber: is required"))
	}
	return errors.Join(all...)
}
