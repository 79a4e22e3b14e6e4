package web

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"mime"
	"net"
	"net/http"
	"net/textproto"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"

	"millrace/platform/text"
)

// bodyTimeout is the time limit for receiving a body.
const bodyTimeout = 5 * time.Second

// checkInput checks a request before anything else in an operation. A request
// that cannot be read is answered here. Other findings go into the request's
// context and are answered together with those of the schema.
//
// An operation with SkipValidateBody checks the body's content itself, such as
// a callback whose signature must be verified first; only size and type are
// checked here.
func checkInput(registry huma.Registry) func(huma.Context, func(huma.Context)) {
	return func(ctx huma.Context, next func(huma.Context)) {
		r, w := humago.Unwrap(ctx)
		op := ctx.Operation()
		found := &findings{}
		if !op.SkipValidateBody {
			checkParameters(op, r, found)
		}
		if op.RequestBody != nil {
			body, refused := readBody(r, op)
			if refused == nil && !op.SkipValidateBody && len(body) > 0 {
				schema := op.RequestBody.Content["application/json"].Schema
				body, refused = cleanBody(registry, schema, body, found)
			}
			if refused != nil {
				if refused.Status == http.StatusUnprocessableEntity {
					found.into(refused)
				}
				writeModel(w, r, refused)
				return
			}
			replaceBody(r, body)
			r.Header.Set("Content-Type", "application/json") // huma's comparison is case-sensitive
		}
		next(huma.WithValue(ctx, findingsKey{}, found))
	}
}

// refuse returns a problem with one finding.
func refuse(status int, location, format string, args ...any) *huma.ErrorModel {
	message := fmt.Sprintf(format, args...)
	return &huma.ErrorModel{
		Status: status, Detail: location + ": " + message,
		Errors: []*huma.ErrorDetail{{Location: location, Message: message}},
	}
}

// receiveBody reads the whole body, up to MaxBody bytes, into memory.
func receiveBody(w http.ResponseWriter, r *http.Request) *huma.ErrorModel {
	if r.ContentLength == 0 {
		return nil
	}
	if r.ContentLength > MaxBody {
		return tooLarge(MaxBody)
	}
	conn := http.NewResponseController(w)
	_ = conn.SetReadDeadline(time.Now().Add(bodyTimeout)) // a connection without deadlines has the server's limit
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, MaxBody))
	if err == nil {
		// Reset the deadline. The server keeps reading, to detect a client that
		// disconnects. It would take an expired deadline for a disconnection
		// and cancel this request and every later one of the connection.
		_ = conn.SetReadDeadline(time.Time{})
		replaceBody(r, body)
		return nil
	}
	// The server reads the rest of the body before it answers, so the deadline
	// stays.
	w.Header().Set("Connection", "close")
	var large *http.MaxBytesError
	var network net.Error
	switch {
	case errors.As(err, &large):
		return tooLarge(MaxBody)
	case errors.As(err, &network) && network.Timeout():
		return refuse(http.StatusRequestTimeout, "body", "did not arrive within %s", bodyTimeout)
	}
	return refuse(http.StatusBadRequest, "body", "ended before its announced length: send it again")
}

func replaceBody(r *http.Request, body []byte) {
	r.Body, r.ContentLength, r.TransferEncoding = io.NopCloser(bytes.NewReader(body)), int64(len(body)), nil
}

func tooLarge(limit int64) *huma.ErrorModel {
	large := refuse(http.StatusRequestEntityTooLarge, "body", "the body is larger than %d bytes", limit)
	large.Detail = large.Errors[0].Message
	return large
}

// readBody returns the body if its type and size are valid; it may be empty if
// the operation allows that.
func readBody(r *http.Request, op *huma.Operation) ([]byte, *huma.ErrorModel) {
	limit := op.MaxBodyBytes - 1 // see Handle
	body, err := io.ReadAll(io.LimitReader(r.Body, limit+1))
	switch {
	case err != nil: // impossible: the body is in memory
		return nil, refuse(http.StatusBadRequest, "body", "cannot be read: send it again")
	case int64(len(body)) > limit:
		return nil, tooLarge(limit)
	case len(body) == 0 && op.RequestBody.Required:
		return nil, refuse(http.StatusBadRequest, "body", "is missing: send a JSON object, with Content-Type: application/json")
	case len(body) > 0:
		return body, checkContentHeaders(r.Header)
	}
	return nil, nil
}

// checkContentHeaders refuses a body that is not uncompressed JSON in UTF-8.
func checkContentHeaders(header http.Header) *huma.ErrorModel {
	const location, advice = "header.Content-Type", "send Content-Type: application/json"
	unsupported := func(location, message string) *huma.ErrorModel {
		refused := refuse(http.StatusUnsupportedMediaType, location, "%s", message)
		refused.Detail = message
		return refused
	}
	if encoding := strings.Join(header.Values("Content-Encoding"), ","); encoding != "" && !strings.EqualFold(strings.TrimSpace(encoding), "identity") {
		return unsupported("header.Content-Encoding", "a compressed body is not taken: send it as it is, without Content-Encoding")
	}
	given := header.Values("Content-Type")
	if len(given) != 1 || strings.TrimSpace(given[0]) == "" {
		return unsupported(location, "the body's type is missing or given twice: "+advice)
	}
	mediaType, parameters, err := mime.ParseMediaType(given[0]) // in lower case
	suffix := strings.HasPrefix(mediaType, "application/") && strings.HasSuffix(mediaType, "+json")
	switch {
	case err != nil:
		return unsupported(location, "the body's type cannot be read: "+advice)
	case mediaType != "application/json" && !suffix:
		return unsupported(location, advice)
	}
	if charset := parameters["charset"]; charset != "" && !strings.EqualFold(charset, "utf-8") && !strings.EqualFold(charset, "utf8") {
		return unsupported(location, "JSON is in UTF-8: convert the text, and "+advice)
	}
	return nil
}

// digits is the form of a whole number in a path, a query or a header.
var digits = regexp.MustCompile(`^(-?[1-9][0-9]*|0)$`)

// checkParameters checks the path, query and header parameters that the
// operation reads: each must be given once and be a single line of text.
func checkParameters(op *huma.Operation, r *http.Request, found *findings) {
	query, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		found.add("query", "cannot be read: write name=value&name=value, and other characters than letters and digits with %%, as encodeURIComponent does")
		query = r.URL.Query()
	}
	one := func(location string, schema *huma.Schema, values []string) {
		if len(values) > 1 {
			found.add(location, "is given %d times: give it once", len(values))
		}
		for _, value := range values {
			_, fault := text.Line(value)
			if fault == "" && value != "" && schema != nil && schema.Type == huma.TypeInteger && !digits.MatchString(value) {
				fault = expected(goType(schema)) // an ID has one spelling
			}
			if fault != "" {
				found.add(location, "%s", fault)
				return
			}
		}
	}
	var names []string
	for _, p := range op.Parameters {
		switch p.In {
		case "path":
			one("path."+p.Name, p.Schema, []string{r.PathValue(p.Name)})
		case "query":
			names = append(names, p.Name)
			one("query."+p.Name, p.Schema, query[p.Name])
		case "header":
			// Conditional headers may have several lines; IfMatch reads them
			// itself.
			if name := textproto.CanonicalMIMEHeaderKey(p.Name); !strings.HasPrefix(name, "If-") {
				one("header."+p.Name, p.Schema, r.Header[name])
			}
		}
	}
	for _, name := range sortedNames(query) {
		if !slices.Contains(names, name) {
			found.add("query."+shownName(name), "%s", unknownName(name, names))
		}
	}
}

// sortedNames sorts the names, so that answers are reproducible.
func sortedNames(values url.Values) []string {
	names := make([]string, 0, len(values))
	for name := range values {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// unknownName returns what to write instead of an unknown name.
func unknownName(name string, known []string) string {
	for _, right := range known {
		if strings.EqualFold(name, right) {
			return "is not known: write " + right
		}
	}
	return "is not known: leave it out, see /docs"
}
