package gateway

import (
	"errors"
	"fmt"
	"net/http"
	"slices"

	"millrace/platform/errs"
)

// Refusal is the provider's final refusal of a charge or refund: nothing was
// captured or refunded under this name, and nothing will be. Only a code of the
// contract (see the table in this file) makes one. Its kind is Invalid and its
// field is the code.
type Refusal struct {
	Code string // a code of the contract, as "limit_exceeded"
}

func (r *Refusal) Error() string { return r.Code + ": the gateway refuses the request" }

// Unwrap returns an error of kind Invalid.
func (r *Refusal) Unwrap() error {
	return &errs.Error{Kind: errs.Invalid, Field: r.Code, Msg: "the gateway refuses the request"}
}

// ErrNotThere is the provider's own answer to a lookup of a name that it has never
// accepted: the request may be made, or repeated, under that name. Its kind is
// NotFound.
var ErrNotThere error = &errs.Error{Kind: errs.NotFound, Msg: "the gateway knows nothing under this name"}

// ruling is what a code of the contract means, in responses with one of the listed
// HTTP statuses. With another status, as a proxy's 403 or 407 or a rate limiter's
// 429, the code does not come from the provider.
type ruling struct {
	statuses []int
	decides  func(code string) error // returns the error of the request
}

// final lists the codes of the contract that are final, by request. Any other
// code, and a response without one, leaves the result unknown. That includes
// idempotency_key (the header is missing: our fault), idempotency_key_reused
// (another request was accepted under this name), in_progress (the first request
// is still being processed), not_json and too_large (damaged in transit, or our
// fault), and try_again.
//
// Source: the contract that this package describes. A provider with other codes
// needs a table of its own.
var final = map[string]map[string]ruling{
	"POST charges": {
		"invalid_charge":       {invalid, refusal}, // a field breaks a rule
		"callback_url":         {invalid, refusal}, // the provider cannot call back there
		"limit_exceeded":       {invalid, refusal}, // more than the account's limit
		"unsupported_currency": {invalid, refusal},
		"unsupported_method":   {invalid, refusal},
	},
	"POST refunds": {
		"invalid_refund": {invalid, refusal},                         // a field breaks a rule
		"unknown_charge": {slices.Concat(missing, invalid), refusal}, // there is no such charge
		"not_captured":   {invalid, refusal},                         // the charge was not captured
		"amount":         {invalid, refusal},                         // more than is left of the charge
		"account_closed": {invalid, refusal},                         // the account that would receive the money is closed
	},
	"GET charges": {"charge_not_found": {missing, notThere}},
	"GET refunds": {"refund_not_found": {missing, notThere}},
}

var (
	invalid = []int{http.StatusBadRequest, http.StatusUnprocessableEntity}
	missing = []int{http.StatusNotFound}
)

func refusal(code string) error { return &Refusal{Code: code} }
func notThere(string) error     { return ErrNotThere }

// responseError returns the error of a response that is not a result. It is final
// only for a code of the contract, in the contract's format (JSON, the code's HTTP
// status, about the requested charge or refund). The HTTP status alone only
// decides how soon to retry.
func responseError(what string, status int, answer refusalBody, isContract bool) error {
	if r := final[what][answer.Code]; isContract && slices.Contains(r.statuses, status) {
		return r.decides(answer.Code)
	}
	kind := errs.Unknown
	switch {
	case status == http.StatusConflict: // the first request with this key is still being processed
		kind = errs.Contention
	case status == http.StatusRequestTimeout, status == http.StatusTooManyRequests, status >= 500:
		kind = errs.Resource
	}
	code := CleanReason(answer.Code)
	if code == "" {
		code = fmt.Sprintf("http_%d", status)
	}
	return &errs.Error{Kind: kind, Field: code, Msg: fmt.Sprintf("the answer to %s has status %d and decides nothing", what, status)}
}

// asRetriable gives an error that is not the provider's answer a kind that is
// retried.
func asRetriable(err error) error {
	var refusal *Refusal
	if errors.Is(err, ErrNotThere) || errors.As(err, &refusal) || errs.KindOf(err).Reaction() != errs.Dead {
		return err
	}
	return errs.As(errs.Unknown, err)
}
