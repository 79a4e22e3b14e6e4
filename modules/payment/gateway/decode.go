package gateway

import (
	"strings"

	"millrace/platform/errs"
	"millrace/platform/strictjson"
)

const (
	maxKey    = 128 // greatest length of a transaction key or refund id
	maxStatus = 40
	maxReason = 64
)

// Decode reads the body of a callback: one JSON object. Unknown fields are ignored
// and unknown statuses accepted. The error is Undecodable if the body is not a
// JSON object or if a key is duplicated or in the wrong case. It is Invalid, with
// the field's name, if a field breaks a rule.
func Decode(body []byte) (Result, error) {
	var r Result
	if err := strictjson.Unmarshal(body, &r); err != nil {
		return Result{}, errs.New(errs.Undecodable, "the body is not a callback: %w", err)
	}
	switch {
	case !visible(r.TransactionKey, maxKey):
		return Result{}, errs.InvalidField("transactionKey", "must be 1 to %d visible ASCII characters", maxKey)
	case !visible(r.OrderKey, maxKey):
		return Result{}, errs.InvalidField("orderKey", "must be 1 to %d visible ASCII characters", maxKey)
	case r.Amount <= 0:
		return Result{}, errs.InvalidField("amount", "must be more than 0, in minor units")
	case !visible(r.Currency, 3):
		return Result{}, errs.InvalidField("currency", "must be an ISO 4217 code")
	case !validStatus(r.Status):
		return Result{}, errs.InvalidField("status", "must be 1 to %d capitals or '_'", maxStatus)
	case r.CanceledAmount < 0:
		return Result{}, errs.InvalidField("canceledAmount", "must be 0 or more, in minor units: how much has gone back by now")
	}
	r.FailedReason = CleanReason(r.FailedReason)
	return r, nil
}

// CleanReason returns a reason that is a code (letters, digits, '_', '-', '.', at
// most 64 characters) unchanged, and "other" for any other text: free text may
// name a person, and reasons are stored in events permanently. The empty reason
// stays empty.
func CleanReason(reason string) string {
	if len(reason) > maxReason {
		return "other"
	}
	for _, r := range reason {
		if !strings.ContainsRune("_-.", r) && (r < '0' || r > '9') && (r < 'A' || r > 'Z') && (r < 'a' || r > 'z') {
			return "other"
		}
	}
	return reason
}

const maxMethod, maxURL = 64, 2048

// Check returns an error if a charge request breaks a rule of the contract.
func (c Charge) Check() error {
	switch {
	case !visible(c.TransactionKey, maxKey):
		return errs.InvalidField("transactionKey", "must be 1 to %d visible ASCII characters", maxKey)
	case !visible(c.OrderKey, maxKey):
		return errs.InvalidField("orderKey", "must be 1 to %d visible ASCII characters", maxKey)
	case c.Amount <= 0:
		return errs.InvalidField("amount", "must be more than 0, in minor units")
	case len(c.Currency) != 3 || !visible(c.Currency, 3):
		return errs.InvalidField("currency", "must be an ISO 4217 code")
	case len(c.Method) > maxMethod:
		return errs.InvalidField("method", "must be at most %d bytes", maxMethod)
	case len(c.CallbackURL) > maxURL:
		return errs.InvalidField("callbackUrl", "must be at most %d bytes", maxURL)
	}
	return nil
}

// Check returns an error if a refund request breaks a rule of the contract. It
// does not compare the amount and currency with the charge.
func (r Refund) Check() error {
	switch {
	case !visible(r.RefundID, maxKey):
		return errs.InvalidField("refundId", "must be 1 to %d visible ASCII characters", maxKey)
	case !visible(r.TransactionKey, maxKey):
		return errs.InvalidField("transactionKey", "must be 1 to %d visible ASCII characters", maxKey)
	case !visible(r.Currency, 3):
		return errs.InvalidField("currency", "must be an ISO 4217 code")
	}
	return nil
}

// Valid reports whether s has the format of a status, known or not.
func (s Status) Valid() bool { return validStatus(s) }

func visible(s string, limit int) bool {
	return s != "" && len(s) <= limit && !strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r > '~' })
}

func validStatus(s Status) bool {
	return s != "" && len(s) <= maxStatus &&
		!strings.ContainsFunc(string(s), func(r rune) bool { return r != '_' && (r < 'A' || r > 'Z') })
}
