package web

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"strings"

	"github.com/danielgtaylor/huma/v2"
	"github.com/lib/pq"

	"millrace/platform/correlation"
	"millrace/platform/errs"
)

const (
	problemType = "application/problem+json"
	unknownText = "something failed here; the request's id, in instance, finds it in the log"
	lockedText  = "something else holds a lock in the database that this needs; repeat the request later"
)

// sentences are the messages for callers when the error's own text must not be
// shown.
var sentences = map[errs.Kind]string{
	errs.Invalid:      "a value is outside what can be stored",
	errs.Unauthorized: "the request does not prove who sent it",
	errs.Forbidden:    "this is not allowed",
	errs.NotFound:     "there is no such thing",
	errs.Conflict:     "the present state refuses this; read it again before repeating the request",
	errs.TooLarge:     "the request is larger than the limit",
	errs.Undecodable:  "the request cannot be read",
	errs.Contention:   "others are changing the same thing; repeat the request",
	errs.Resource:     "a part that this needs is away; repeat the request later",
	errs.Timeout:      "this took too long, and may have happened; repeat the request with the same key, or read the state",
	errs.Shutdown:     "this server is going down; repeat the request",
	errs.Stale:        "it was changed since it was read; read it again before repeating the request",
}

// problemOf converts an error to the problem that the caller may see.
func problemOf(ctx context.Context, err error) *huma.ErrorModel {
	var ready *huma.ErrorModel
	if errors.As(err, &ready) { // created by huma or by a handler
		complete(ctx, ready)
		return ready
	}
	kind := errs.KindOf(err)
	problem := &huma.ErrorModel{Status: kind.HTTPStatus(), Detail: unknownText}
	if sentence, ok := sentences[kind]; ok {
		problem.Detail = sentence
	}
	if errs.Locked(err) && kind == errs.Resource {
		problem.Detail = lockedText
	}
	var named *errs.Error
	var database *pq.Error
	if problem.Status < http.StatusInternalServerError && errors.As(err, &named) && !errors.As(err, &database) {
		problem.Detail = plain(named.Error())
		for _, at := range fieldsOf(err) {
			message := at.Msg
			if message == "" && at.Err != nil {
				message = at.Err.Error()
			}
			problem.Errors = append(problem.Errors, &huma.ErrorDetail{Message: plain(message), Location: locationOf(ctx, at.Field)})
		}
		if len(problem.Errors) > 1 {
			problem.Detail = "several fields are not acceptable, see errors"
		}
	}
	findingsFrom(ctx).into(problem) // usually none; adding them also limits the handler's own
	complete(ctx, problem)
	return problem
}

// fieldsOf returns every error in err's tree that names a field.
func fieldsOf(err error) []*errs.Error {
	var found []*errs.Error
	if e, ok := err.(*errs.Error); ok && e.Field != "" { //nolint:errorlint // this walks the tree itself
		found = append(found, e)
	}
	switch wrapped := err.(type) { //nolint:errorlint // likewise
	case interface{ Unwrap() error }:
		if inner := wrapped.Unwrap(); inner != nil {
			found = append(found, fieldsOf(inner)...)
		}
	case interface{ Unwrap() []error }:
		for _, inner := range wrapped.Unwrap() {
			found = append(found, fieldsOf(inner)...)
		}
	}
	return found
}

// complete sets the members that every problem has.
func complete(ctx context.Context, problem *huma.ErrorModel) {
	problem.Type = "about:blank"
	problem.Title = http.StatusText(problem.Status)
	if id := correlation.From(ctx); id != "" {
		problem.Instance = "urn:uuid:" + id
	}
}

const missing, missingEnd = "expected required property ", " to be present"

// tidyValidation corrects huma's findings: it names a missing field itself
// instead of its parent, and removes values, because a body may contain data
// that must not be repeated.
func tidyValidation(problem *huma.ErrorModel) {
	for _, e := range problem.Errors {
		if e == nil {
			continue
		}
		e.Value = nil
		e.Location, e.Message = plainAt(e.Location, e.Message)
		if name, ok := strings.CutPrefix(e.Message, missing); ok {
			if name, ok = strings.CutSuffix(name, missingEnd); ok {
				e.Location += "." + name
				e.Message = "is required"
			}
		}
	}
	switch {
	case problem.Status == http.StatusBadRequest && len(problem.Errors) == 1 && problem.Errors[0].Location == "header.If-Match":
		problem.Detail = "If-Match cannot be read, see errors"
	case problem.Status == http.StatusUnprocessableEntity:
		problem.Detail = unfit
	}
}

// writeProblem writes a problem outside of an operation.
func writeProblem(w http.ResponseWriter, r *http.Request, status int, detail string) {
	writeModel(w, r, &huma.ErrorModel{Status: status, Detail: detail})
}

func writeModel(w http.ResponseWriter, r *http.Request, problem *huma.ErrorModel) {
	complete(r.Context(), problem)
	w.Header().Set("Content-Type", problemType)
	w.WriteHeader(problem.Status)
	_ = json.NewEncoder(w).Encode(problem) // the client has disconnected
}
