package web

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"

	"millrace/platform/correlation"
	"millrace/platform/redact"
)

// requestTimeout is the time limit for handling one request. It is shorter than
// a shutdown waits, so a shutdown never interrupts a request.
const requestTimeout = 10 * time.Second

// policy allows pages to use only this server's own files, and no inline
// scripts.
const policy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; " +
	"connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"

// Handler wraps mux in what applies to every request, from the outside to the
// inside:
//
//	request ID        everything below logs it and answers with it
//	security headers  on errors, too
//	recovery          a panic below becomes an answer with both of the above
//	guards            as passed, such as Hosts.Guard
//	cross-site guard  before any handler
//	limits            for time; the whole body is received here
//	admission         limits concurrent requests; nil means no limit
//	no route          404 and 405 as problems
func Handler(mux *http.ServeMux, log *slog.Logger, limits *Limits, guards ...func(http.Handler) http.Handler) http.Handler {
	h := routes(mux)
	h = limits.admit(h)
	h = limited(h)
	h = sameSite(h)
	for _, guard := range slices.Backward(guards) { // the first guard becomes the outermost
		h = guard(h)
	}
	h = recovered(h, mux, log)
	h = secured(h)
	return identified(h)
}

func identified(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		id, err := uuid.Parse(r.Header.Get("X-Request-Id"))
		if err != nil {
			id = uuid.Must(uuid.NewV7()) // fails only without a source of randomness, as TLS would
		}
		w.Header().Set("X-Request-Id", id.String())
		next.ServeHTTP(w, r.WithContext(correlation.With(r.Context(), id.String())))
	})
}

func secured(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Content-Security-Policy", policy)
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("X-Frame-Options", "DENY")
		h.Set("Referrer-Policy", "no-referrer")
		h.Set("Cross-Origin-Opener-Policy", "same-origin")
		h.Set("Cache-Control", "no-store") // answers contain people's orders
		next.ServeHTTP(w, r)
	})
}

// recovered answers a panic with 500, and logs it with the route instead of the
// path, because a path contains IDs from the caller. Package huma panics if it
// cannot write the answer: that is no fault of ours, but of a client that went
// away or read too slowly, and is logged without a stack, at the level debug.
func recovered(next http.Handler, mux *http.ServeMux, log *slog.Logger) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		answer := &started{ResponseWriter: w}
		defer func() {
			p := recover()
			if p == nil {
				return
			}
			if p == http.ErrAbortHandler { //nolint:errorlint // net/http's own way to end a connection
				panic(p)
			}
			_, route := mux.Handler(dotsAsNames(r))
			if err, ok := p.(error); ok && answer.failed != nil && errors.Is(err, answer.failed) {
				log.DebugContext(r.Context(), "client went away", "method", r.Method, "route", route, "correlation_id", correlation.From(r.Context()))
				panic(http.ErrAbortHandler)
			}
			panicked := redact.Panic(p, debug.Stack())
			log.ErrorContext(r.Context(), "request panicked", "method", r.Method, "route", route,
				"correlation_id", correlation.From(r.Context()), "panic", panicked.Value, "stack", panicked.Stack)
			if answer.began {
				panic(http.ErrAbortHandler) // a partial answer must not look complete
			}
			writeProblem(w, r, http.StatusInternalServerError, unknownText)
		}()
		next.ServeHTTP(answer, r)
	})
}

// started records whether the answer has started, and the first error of writing
// it to the client.
type started struct {
	http.ResponseWriter
	began  bool
	failed error
}

func (s *started) WriteHeader(status int) {
	s.began = true
	s.ResponseWriter.WriteHeader(status)
}

func (s *started) Write(b []byte) (int, error) {
	s.began = true
	n, err := s.ResponseWriter.Write(b)
	if s.failed == nil && !errors.Is(err, http.ErrBodyNotAllowed) && !errors.Is(err, http.ErrContentLength) { // the handler's own mistakes
		s.failed = err
	}
	return n, err
}

// Unwrap gives http.ResponseController access to the connection, for deadlines.
func (s *started) Unwrap() http.ResponseWriter { return s.ResponseWriter }

func sameSite(next http.Handler) http.Handler {
	guard := http.NewCrossOriginProtection()
	guard.SetDenyHandler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		writeProblem(w, r, http.StatusForbidden, "a page of another site may not send this")
	}))
	return guard.Handler(next)
}

// limited sets the request's time limit and receives the whole body before it
// calls next, so that a slow client occupies only its connection.
func limited(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ctx, cancel := context.WithTimeout(r.Context(), requestTimeout)
		defer cancel()
		r = r.WithContext(ctx)
		if refused := receiveBody(w, r); refused != nil {
			writeModel(w, r, refused)
			return
		}
		next.ServeHTTP(w, r)
	})
}

func routes(mux *http.ServeMux) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		r = dotsAsNames(r)
		if handler, pattern := mux.Handler(r); pattern == "" {
			refusal := &refusal{header: http.Header{}}
			handler.ServeHTTP(refusal, r) // gets the status 404, or 405 with the allowed methods, or a redirect
			switch refusal.status {
			case http.StatusMethodNotAllowed:
				allow := refusal.header.Get("Allow")
				w.Header().Set("Allow", allow)
				writeProblem(w, r, refusal.status, "this path takes other methods: "+allow)
				return
			case http.StatusNotFound:
				writeProblem(w, r, refusal.status, "there is nothing at this path, see /docs")
				return
			}
		}
		mux.ServeHTTP(w, r)
	})
}

// dotsAsNames makes a path segment "." or "..", escaped or not, count as the ID
// that the caller gave, so that the operation rejects it. The mux alone would
// redirect an unescaped one to another path.
func dotsAsNames(r *http.Request) *http.Request {
	segments := strings.Split(r.URL.EscapedPath(), "/")
	changed := false
	for i, segment := range segments {
		if segment == "." || segment == ".." {
			segments[i], changed = strings.ReplaceAll(segment, ".", "%2E"), true
		}
	}
	if !changed {
		return r
	}
	address := *r.URL
	address.RawPath = strings.Join(segments, "/")
	renamed := *r
	renamed.URL = &address
	return &renamed
}

// refusal records the mux's status and drops its text.
type refusal struct {
	header http.Header
	status int
}

func (r *refusal) Header() http.Header         { return r.header }
func (r *refusal) WriteHeader(status int)      { r.status = status }
func (r *refusal) Write(b []byte) (int, error) { return len(b), nil }
