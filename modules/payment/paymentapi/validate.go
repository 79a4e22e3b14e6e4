package paymentapi

import (
	"errors"
	"fmt"
	"regexp"
)

// MaxAmount is the largest amount of a payment, in minor units. It is small
// enough that sums do not overflow.
const MaxAmount = 999_999_999_999

// idForm is the format of user and payment ids in messages. New payments have
// stricter rules for user ids, see UserIDFault.
var idForm = regexp.MustCompile(`^[A-Za-z0-9_.-]{1,64}$`)

// Validate returns an error that names every invalid field, or nil. It does not
// quote values. The bus calls it before any handler, so that invalid messages
// move no money or parcels and send no mail.
func (e Completed) Validate() error {
	return validate(e.PaymentID, e.OrderKey, e.OrderKind, e.UserID, e.Amount, e.Currency)
}

// Validate works like [Completed.Validate].
func (e Failed) Validate() error {
	return validate(e.PaymentID, e.OrderKey, e.OrderKind, e.UserID, e.Amount, e.Currency)
}

// Validate works like [Completed.Validate].
func (e Refunded) Validate() error {
	return validate(e.PaymentID, e.OrderKey, e.OrderKind, e.UserID, e.Amount, e.Currency)
}

// Validate returns an error if the order key is malformed. It does not check
// whether the order was paid; the payment module does.
func (c Refund) Validate() error {
	if _, ok := KindOf(c.OrderKey); !ok {
		return errOrderKey
	}
	return nil
}

var errOrderKey = errors.New("orderKey: must be goods-… or deposit-<consultation id>, at most 64 letters, digits and hyphens")

func validate(paymentID, orderKey string, orderKind OrderKind, userID string, amount int64, currency string) error {
	var all []error
	if !idForm.MatchString(paymentID) {
		all = append(all, errors.New("paymentId: must be 1 to 64 letters, digits, '_', '.' or '-'"))
	}
	if kind, ok := KindOf(orderKey); !ok {
		all = append(all, errOrderKey)
	} else if kind != orderKind {
		all = append(all, fmt.Errorf("orderKind: must be %s, as the order key begins", kind))
	}
	if !idForm.MatchString(userID) {
		all = append(all, errors.New("userId: must be 1 to 64 letters, digits, '_', '.' or '-'"))
	}
	if amount <= 0 || amount > MaxAmount {
		all = append(all, fmt.Errorf("amount: %d is not 1 to %d, in minor units", amount, int64(MaxAmount)))
	}
	if _, known := Decimals(currency); !known {
		all = append(all, errors.New("currency: must be an ISO 4217 code that people pay with, as KRW"))
	}
	return errors.Join(all...)
}
