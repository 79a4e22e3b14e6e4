package web

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"path"
	"reflect"
	"strings"
	"sync"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"
	"github.com/lib/pq"

	"millrace/platform/correlation"
	"millrace/platform/errs"
	"millrace/platform/redact"
)

// Limits for a request's body, in bytes.
const (
	MaxBody     = 64 << 10 // default and maximum; an operation may set less
	MaxCallback = 64 << 10 // for callbacks from outside: set it as Operation.MaxBodyBytes
)

type (
	operationKey struct{}
	loggerKey    struct{}
)

// NewAPI creates the API on mux. version is the program's version. All modules
// must register their operations before the first request, because the
// description is complete only then.
func NewAPI(mux *http.ServeMux, version string, log *slog.Logger) huma.API {
	config := huma.DefaultConfig("Millrace", version)
	config.Info.Description = "Payments, deliveries, notifications, consultations and their chats. " +
		"Errors are RFC 9457 problems that name the field. Amounts are integers in minor units with an ISO 4217 currency."
	// These are served below: huma's documentation page loads scripts from
	// other servers, and its /openapi.json is filled by the first request
	// without a lock.
	config.OpenAPIPath, config.DocsPath, config.SchemasPath = "", "", ""
	config.CreateHooks = nil // no "$schema" in bodies
	config.Components.Schemas = huma.NewMapRegistry("#/components/schemas/", schemaName)
	config.Transformers = []huma.Transformer{tidyProblem}

	api := humago.New(mux, config)
	api.UseMiddleware(func(ctx huma.Context, next func(huma.Context)) {
		ctx = huma.WithValue(ctx, operationKey{}, ctx.Operation())
		next(huma.WithValue(ctx, loggerKey{}, log))
	}, checkInput(api.OpenAPI().Components.Schemas))
	description := sync.OnceValues(func() ([]byte, error) { return json.Marshal(api.OpenAPI()) })
	mux.HandleFunc("GET /openapi.json", func(w http.ResponseWriter, r *http.Request) {
		body, err := description()
		if err != nil {
			log.ErrorContext(r.Context(), "describe the API", "error", err)
			writeProblem(w, r, http.StatusInternalServerError, unknownText)
			return
		}
		w.Header().Set("Content-Type", "application/openapi+json")
		_, _ = w.Write(body) // the client has disconnected
	})
	serveDocs(mux)
	return api
}

// schemaName adds the package to a type's name, because two modules may use the
// same type name.
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
// comment describes. A body larger than op.MaxBodyBytes (MaxBody if 0) is
// refused before h is called. I and O are as in huma.Register.
func Handle[I, O any](api huma.API, op huma.Operation, h func(context.Context, *I) (*O, error)) {
	if op.MaxBodyBytes == 0 {
		op.MaxBodyBytes = MaxBody
	}
	op.MaxBodyBytes++       // huma also refuses a body of exactly its limit
	op.BodyReadTimeout = -1 // checkInput has already read the body, so huma must not set another deadline
	huma.Register(api, op, func(ctx context.Context, in *I) (*O, error) {
		if found := findingsFrom(ctx); !found.empty() {
			problem := &huma.ErrorModel{Status: http.StatusUnprocessableEntity, Detail: unfit}
			found.into(problem)
			complete(ctx, problem)
			return nil, problem
		}
		out, err := h(ctx, in)
		if err == nil {
			return out, nil
		}
		problem := problemOf(ctx, err)
		logFailure(ctx, op, problem.Status, err)
		if problem.Status == http.StatusServiceUnavailable {
			return nil, retryLater(problem)
		}
		if now := errs.StateOf(err); now != nil {
			return nil, &refused{problem, *now}
		}
		return nil, problem
	})
}

// logFailure logs failures that the program or its environment caused: each
// 5xx, and each violation of a constraint that no module handles.
func logFailure(ctx context.Context, op huma.Operation, status int, err error) {
	constraint, table := unexpected(err)
	if status < http.StatusInternalServerError && constraint == "" {
		return
	}
	level := slog.LevelError
	if errs.KindOf(err) == errs.Shutdown { // the client disconnected, or this process is shutting down
		level = slog.LevelInfo
	}
	attributes := []any{
		"operation", op.Method + " " + op.Path, "status", status, "kind", errs.KindOf(err).String(),
		"correlation_id", correlation.From(ctx), "error", redact.Error(err),
	}
	if constraint != "" {
		attributes = append(attributes, "constraint", constraint, "table", table)
	}
	if help := errs.Help(err); help != "" {
		attributes = append(attributes, "help", help)
	}
	loggerFrom(ctx).Log(ctx, level, "request failed", attributes...)
}

// unexpected returns the violated constraint and its table, unless a module
// handled the violation by giving the error a kind.
func unexpected(err error) (constraint, table string) {
	var named *errs.Error
	var database *pq.Error
	if !errors.As(err, &database) || database.Code.Class() != "23" || errors.As(err, &named) && named.Kind != errs.Unknown {
		return "", ""
	}
	constraint, table = database.Constraint, database.Schema+"."+database.Table
	if constraint == "" {
		constraint = "not null of " + database.Column
	}
	return constraint, table
}

// retryLater adds a Retry-After header to a problem.
func retryLater(problem *huma.ErrorModel) error {
	return &unavailable{problem}
}

// unavailable is a problem with a Retry-After header. It must be one type: huma
// writes the body of a value that has a status and the headers of a value that
// has headers.
type unavailable struct{ *huma.ErrorModel }

func (unavailable) GetHeaders() http.Header { return http.Header{"Retry-After": {"1"}} }

func loggerFrom(ctx context.Context) *slog.Logger {
	if log, ok := ctx.Value(loggerKey{}).(*slog.Logger); ok && log != nil {
		return log
	}
	return slog.Default()
}

// locationOf returns where the operation reads the field ("body.amount").
// Modules name only the field ("amount").
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

// tidyProblem gives huma's errors the same form as the others.
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
		findingsFrom(ctx.Context()).into(problem)
		complete(ctx.Context(), problem)
	}
	return problem, nil
}
