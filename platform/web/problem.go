package web

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"strings"

	"github.com/danielgtaylor/huma/v2"
	"github.com/lib/pq"

	"millrace/platform/bus"
	"millrace/platform/errs"
)

const (
	problemType = "application/problem+json"
	unknownText = "something failed here; the request's id, in instance, finds it in the log"
)

// sentences are what a caller reads when the error's own text is not for them.
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
}

// problemOf turns an error into what the caller may see of it.
func problemOf(ctx context.Context, err error) *huma.ErrorModel {
	var ready *huma.ErrorModel
	if errors.As(err, &ready) { // huma's own, made by a handler
		complete(ctx, ready)
		return ready
	}
	kind := errs.KindOf(err)
	problem := &huma.ErrorModel{Status: kind.HTTPStatus(), Detail: unknownText}
	if sentence, ok := sentences[kind]; ok {
		problem.Detail = sentence
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
	complete(ctx, problem)
	return problem
}

// fieldsOf finds every error in err's tree that names a field.
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

// complete fills in what every problem has.
func complete(ctx context.Context, problem *huma.ErrorModel) {
	problem.Type = "about:blank"
	problem.Title = http.StatusText(problem.Status)
	if id := bus.CorrelationFrom(ctx); id != "" {
		problem.Instance = "urn:uuid:" + id
	}
}

const missing, missingEnd = "expected required property ", " to be present"

// tidyValidation makes huma's findings name the field: a missing one is
// reported at its parent. Values are dropped: a body may hold what must not
// travel further, and a caller knows what it sent.
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
	case problem.Status == http.StatusInternalServerError: // the body ended before its announced length
		problem.Detail, problem.Errors = unknownText, nil
	case problem.Status == http.StatusUnsupportedMediaType:
		problem.Detail = "send Content-Type: application/json"
		problem.Errors = []*huma.ErrorDetail{{Location: "header.Content-Type", Message: problem.Detail}}
	case problem.Status == http.StatusBadRequest && len(problem.Errors) > 0:
		problem.Detail = "the body is not JSON"
	case problem.Status == http.StatusUnprocessableEntity:
		problem.Detail = "the request does not fit this operation, see errors and /docs"
	}
}

// writeProblem answers outside of an operation.
func writeProblem(w http.ResponseWriter, r *http.Request, status int, detail string) {
	problem := &huma.ErrorModel{Status: status, Detail: detail}
	complete(r.Context(), problem)
	w.Header().Set("Content-Type", problemType)
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(problem) // the reader left: nobody to tell
}
