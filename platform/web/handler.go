package web

import (
	"context"
	"log/slog"
	"net"
	"net/http"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"

	"millrace/platform/bus"
)

// requestTimeout bounds the work for one request. It is shorter than a
// shutdown waits, so that a shutdown never cuts a request that is still going.
const requestTimeout = 10 * time.Second

// policy lets a page use this server's own files only, and no inline script.
const policy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; " +
	"connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"

// Handler puts around mux what every request gets. The order, outermost first:
//
//	request id        everything below logs and answers with it
//	security headers  on errors too
//	recovery          a panic below becomes an answer with both of the above
//	guards            LoopbackOnly, where it is given
//	cross-site guard  before any handler runs
//	limits            of the body and of the time
//	no route          404 and 405 in the form of every other error
func Handler(mux *http.ServeMux, log *slog.Logger, guards ...func(http.Handler) http.Handler) http.Handler {
	h := routes(mux)
	h = limited(h)
	h = sameSite(h)
	for _, guard := range slices.Backward(guards) { // the first is the outermost
		h = guard(h)
	}
	h = recovered(h, log)
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
		next.ServeHTTP(w, r.WithContext(bus.WithCorrelation(r.Context(), id.String())))
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
		h.Set("Cache-Control", "no-store") // answers are about people's orders
		next.ServeHTTP(w, r)
	})
}

func recovered(next http.Handler, log *slog.Logger) http.Handler {
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
			log.ErrorContext(r.Context(), "request panicked", "method", r.Method, "path", r.URL.Path,
				"correlation_id", bus.CorrelationFrom(r.Context()), "panic", p, "stack", string(debug.Stack()))
			if answer.began {
				panic(http.ErrAbortHandler) // half an answer must not look like a whole one
			}
			writeProblem(w, r, http.StatusInternalServerError, unknownText)
		}()
		next.ServeHTTP(answer, r)
	})
}

// started knows whether an answer has begun.
type started struct {
	http.ResponseWriter
	began bool
}

func (s *started) WriteHeader(status int) {
	s.began = true
	s.ResponseWriter.WriteHeader(status)
}

func (s *started) Write(b []byte) (int, error) {
	s.began = true
	return s.ResponseWriter.Write(b)
}

// Unwrap gives http.ResponseController the connection, for deadlines.
func (s *started) Unwrap() http.ResponseWriter { return s.ResponseWriter }

func sameSite(next http.Handler) http.Handler {
	guard := http.NewCrossOriginProtection()
	guard.SetDenyHandler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		writeProblem(w, r, http.StatusForbidden, "a page of another site may not send this")
	}))
	return guard.Handler(next)
}

func limited(next http.Handler) http.Handler {
	const slack = 16 // an operation's own limit answers first, with 413
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		r.Body = http.MaxBytesReader(w, r.Body, MaxBody+slack)
		ctx, cancel := context.WithTimeout(r.Context(), requestTimeout)
		defer cancel()
		next.ServeHTTP(w, r.WithContext(ctx))
	})
}

func routes(mux *http.ServeMux) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if handler, pattern := mux.Handler(r); pattern == "" {
			refusal := &refusal{header: http.Header{}}
			handler.ServeHTTP(refusal, r) // finds out 404 or 405 and the methods allowed, or a redirect
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

// refusal keeps the status that the mux answers with, and drops its text.
type refusal struct {
	header http.Header
	status int
}

func (r *refusal) Header() http.Header         { return r.header }
func (r *refusal) WriteHeader(status int)      { r.status = status }
func (r *refusal) Write(b []byte) (int, error) { return len(b), nil }

// LoopbackOnly refuses requests that name another host than this machine. A
// server that only this machine reaches is still reached by the browser on it:
// a foreign page whose name was made to resolve to 127.0.0.1 would count as the
// same site. Give it to Handler, so that its refusals have what every answer has.
func LoopbackOnly(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		host := r.Host
		if name, _, err := net.SplitHostPort(host); err == nil {
			host = name
		}
		name := strings.TrimSuffix(strings.ToLower(host), ".") // a name's dot at the end and its case mean nothing
		if ip := net.ParseIP(strings.Trim(host, "[]")); name != "localhost" && (ip == nil || !ip.IsLoopback()) {
			writeProblem(w, r, http.StatusMisdirectedRequest, "this server answers to 127.0.0.1 and localhost only")
			return
		}
		next.ServeHTTP(w, r)
	})
}
