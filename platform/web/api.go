package web

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"path"
	"reflect"
	"strings"
	"sync"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"

	"millrace/platform/bus"
	"millrace/platform/errs"
)

// Limits of a request's body, in bytes.
const (
	MaxBody     = 1 << 20  // unless the operation says less
	MaxCallback = 64 << 10 // what a callback from outside may send: set it as Operation.MaxBodyBytes
)

type (
	operationKey struct{}
	loggerKey    struct{}
)

// NewAPI makes the API on mux. version is the program's. The description is
// complete once the modules have registered their operations, which must be
// before the first request.
func NewAPI(mux *http.ServeMux, version string, log *slog.Logger) huma.API {
	config := huma.DefaultConfig("Millrace", version)
	config.Info.Description = "Payments, deliveries, notifications, consultations and their chats. " +
		"Errors are RFC 9457 problems that name the field. Amounts are integers in minor units with an ISO 4217 currency."
	// Ours are below: huma's documentation page loads scripts from elsewhere, and
	// its /openapi.json is filled in by the first request without a lock.
	config.OpenAPIPath, config.DocsPath, config.SchemasPath = "", "", ""
	config.CreateHooks = nil // no "$schema" in bodies
	config.Components.Schemas = huma.NewMapRegistry("#/components/schemas/", schemaName)
	config.Transformers = []huma.Transformer{tidyProblem}

	api := humago.New(mux, config)
	api.UseMiddleware(func(ctx huma.Context, next func(huma.Context)) {
		ctx = huma.WithValue(ctx, operationKey{}, ctx.Operation())
		next(huma.WithValue(ctx, loggerKey{}, log))
	})
	description := sync.OnceValues(func() ([]byte, error) { return json.Marshal(api.OpenAPI()) })
	mux.HandleFunc("GET /openapi.json", func(w http.ResponseWriter, r *http.Request) {
		body, err := description()
		if err != nil {
			log.ErrorContext(r.Context(), "describe the API", "error", err)
			writeProblem(w, r, http.StatusInternalServerError, unknownText)
			return
		}
		w.Header().Set("Content-Type", "application/openapi+json")
		_, _ = w.Write(body) // the reader left: nobody to tell
	})
	serveDocs(mux)
	return api
}

// schemaName puts the package before a type's name: two modules may both have a
// "view".
func schemaName(t reflect.Type, hint string) string {
	name := huma.DefaultSchemaNamer(t, hint)
	for t.Kind() == reflect.Pointer || t.Kind() == reflect.Slice {
		t = t.Elem()
	}
	module := path.Base(t.PkgPath())
	if t.Name() == "" || module == "." || t.PkgPath() == "github.com/danielgtaylor/huma/v2" {
		return name
	}
	if module = strings.ToUpper(module[:1]) + module[1:]; strings.HasPrefix(name, module) {
		return name
	}
	return module + name
}

// Handle registers an operation. An error of h becomes a problem as the package
// comment says; a body larger than op.MaxBodyBytes (MaxBody if 0) is refused
// before h is called. I and O are as in huma.Register.
func Handle[I, O any](api huma.API, op huma.Operation, h func(context.Context, *I) (*O, error)) {
	if op.MaxBodyBytes == 0 {
		op.MaxBodyBytes = MaxBody
	}
	op.MaxBodyBytes++ // huma refuses a body of exactly its limit
	huma.Register(api, op, func(ctx context.Context, in *I) (*O, error) {
		out, err := h(ctx, in)
		if err == nil {
			return out, nil
		}
		problem := problemOf(ctx, err)
		if problem.Status >= http.StatusInternalServerError {
			level := slog.LevelError
			if errs.KindOf(err) == errs.Shutdown { // whoever asked has gone, or this process goes
				level = slog.LevelInfo
			}
			loggerFrom(ctx).Log(ctx, level, "request failed", "operation", op.Method+" "+op.Path,
				"status", problem.Status, "kind", errs.KindOf(err).String(),
				"correlation_id", bus.CorrelationFrom(ctx), "error", err)
		}
		if problem.Status == http.StatusServiceUnavailable {
			return nil, retryLater(problem)
		}
		return nil, problem
	})
}

// retryLater tells the caller when to try again.
func retryLater(problem *huma.ErrorModel) error {
	return &unavailable{problem}
}

// unavailable is a problem with a Retry-After header. It is one type, because
// huma writes the body from whatever has a status and the headers from
// whatever has headers.
type unavailable struct{ *huma.ErrorModel }

func (unavailable) GetHeaders() http.Header { return http.Header{"Retry-After": {"1"}} }

func loggerFrom(ctx context.Context) *slog.Logger {
	if log, ok := ctx.Value(loggerKey{}).(*slog.Logger); ok && log != nil {
		return log
	}
	return slog.Default()
}

// locationOf says where the operation takes the field from. Modules name a
// field as the caller does ("amount"), not where it is.
func locationOf(ctx context.Context, field string) string {
	for _, prefix := range []string{"body", "path.", "query.", "header."} {
		if strings.HasPrefix(field, prefix) {
			return field
		}
	}
	if op, ok := ctx.Value(operationKey{}).(*huma.Operation); ok && op != nil {
		for _, parameter := range op.Parameters {
			if strings.EqualFold(parameter.Name, field) {
				return parameter.In + "." + parameter.Name
			}
		}
	}
	return "body." + field
}

// tidyProblem gives huma's own errors the form of ours.
func tidyProblem(ctx huma.Context, _ string, body any) (any, error) {
	problem, ok := body.(*huma.ErrorModel)
	if !ok {
		if u, is := body.(*unavailable); is {
			return u.ErrorModel, nil
		}
		return body, nil
	}
	if problem.Type == "" {
		tidyValidation(problem)
		if problem.Status == http.StatusRequestEntityTooLarge && ctx.Operation() != nil {
			problem.Detail = fmt.Sprintf("the body is larger than %d bytes", ctx.Operation().MaxBodyBytes-1) // see Handle
		}
		complete(ctx.Context(), problem)
	}
	return problem, nil
}
