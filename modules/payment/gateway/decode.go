package gateway

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"strings"

	"millrace/platform/errs"
)

const (
	maxKey    = 128 // a transaction key's or refund id's greatest length
	maxStatus = 40
	maxReason = 64
)

// Decode reads the body of a callback: one JSON object, with fields that we do
// not know ignored. Bytes that are no such object are Undecodable; a field that
// breaks its rule is Invalid and named. The status need not be one we know.
func Decode(body []byte) (Result, error) {
	var r Result
	dec := json.NewDecoder(bytes.NewReader(body))
	if err := dec.Decode(&r); err != nil {
		return Result{}, errs.New(errs.Undecodable, "the body is not a callback: %w", err)
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return Result{}, errs.New(errs.Undecodable, "the body goes on after the JSON object")
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
	}
	r.FailedReason = CleanReason(r.FailedReason)
	return r, nil
}

// CleanReason keeps a reason that is a code (letters, digits, '_', '-', '.', at
// most 64) and answers "other" for free text: it might name a person, and a
// reason goes into events that are kept for ever. The empty reason stays empty.
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

func visible(s string, limit int) bool {
	return s != "" && len(s) <= limit && !strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r > '~' })
}

func validStatus(s Status) bool {
	return s != "" && len(s) <= maxStatus &&
		!strings.ContainsFunc(string(s), func(r rune) bool { return r != '_' && (r < 'A' || r > 'Z') })
}
