package simulator

import (
	"context"
	"encoding/json"
	"io"
	"mime"
	"net/http"
	"time"

	"millrace/modules/payment/gateway"
	"millrace/platform/strictjson"
	"millrace/platform/web"
)

const maxBody = 64 << 10

// client is the context key of a request's original context, which ends when the
// client disconnects. web.Handler adds a deadline to the context that handlers
// get.
type client struct{}

// handler wraps the routes like those of every other server of the program.
func (s *Simulator) handler(limits *web.Limits) http.Handler {
	hosts := web.NewHosts("no setting, for the simulator is for this machine")
	guarded := web.Handler(s.routes(), s.cfg.Log, limits, hosts.Guard)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		guarded.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), client{}, r.Context())))
	})
}

// routes returns the simulator's HTTP routes.
func (s *Simulator) routes() *http.ServeMux {
	mux := http.NewServeMux()
	mux.HandleFunc("POST /charges", s.postCharge)
	mux.HandleFunc("POST /refunds", s.postRefund)
	mux.HandleFunc("GET /charges/{key}", s.getCharge)
	mux.HandleFunc("GET /refunds/{id}", s.getRefund)
	mux.HandleFunc("POST /dashboard/cancel", s.postCancel)
	mux.HandleFunc("GET /book", func(w http.ResponseWriter, _ *http.Request) { answer(w, http.StatusOK, s.Book()) })
	mux.HandleFunc("GET /{$}", s.page)
	return mux
}

func (s *Simulator) postCharge(w http.ResponseWriter, r *http.Request) {
	var asked gateway.Charge
	if !read(w, r, &asked) {
		return
	}
	_, canCallBack := s.callbackURL(asked)
	switch {
	case asked.TransactionKey == "" || asked.TransactionKey != r.Header.Get("Idempotency-Key"):
		refuse(w, http.StatusUnprocessableEntity, "idempotency_key")
		return
	case asked.Check() != nil:
		refuse(w, http.StatusUnprocessableEntity, "invalid_charge")
		return
	case !canCallBack:
		refuse(w, http.StatusUnprocessableEntity, "callback_url")
		return
	}
	c, treatment := s.recordCharge(asked)
	switch treatment {
	case full:
		refuse(w, http.StatusServiceUnavailable, "book_full")
	case otherBody:
		refuse(w, http.StatusUnprocessableEntity, "idempotency_key_reused")
	case fail:
		refuse(w, http.StatusServiceUnavailable, "try_again")
	case hang:
		s.hang(r, TimeoutHidesSuccess)
	case callFirst:
		s.callbacks(c) // includes retries; the client may give up before
		s.count(CallbackFirst)
		answer(w, http.StatusOK, s.result(c))
	case pending:
		result := s.result(c)
		result.Status, result.FailedReason = gateway.Pending, ""
		answer(w, http.StatusAccepted, result)
		s.wait.Go(func() { s.callbacks(c) })
	case final:
		answer(w, http.StatusOK, s.result(c))
		s.wait.Go(func() { s.callbacks(c) })
	case again:
		answer(w, http.StatusOK, s.result(c))
	}
}

func (s *Simulator) postRefund(w http.ResponseWriter, r *http.Request) {
	var asked gateway.Refund
	if !read(w, r, &asked) {
		return
	}
	if asked.RefundID == "" || asked.RefundID != r.Header.Get("Idempotency-Key") {
		refuse(w, http.StatusUnprocessableEntity, "idempotency_key")
		return
	}
	if asked.Check() != nil {
		refuse(w, http.StatusUnprocessableEntity, "invalid_refund")
		return
	}
	row, treatment := s.recordRefund(asked)
	switch treatment {
	case full:
		refuse(w, http.StatusServiceUnavailable, "book_full")
	case otherBody:
		refuse(w, http.StatusUnprocessableEntity, "idempotency_key_reused")
	case unknownCharge:
		refuse(w, http.StatusUnprocessableEntity, "unknown_charge")
	case fail:
		refuse(w, http.StatusServiceUnavailable, "try_again")
	case hang:
		s.hang(r, RefundHidden)
	default:
		answer(w, http.StatusOK, resultOf(row))
	}
}

func resultOf(row Refund) gateway.RefundResult {
	return gateway.RefundResult{
		RefundID: row.RefundID, TransactionKey: row.TransactionKey, Amount: row.Amount, Currency: row.Currency,
		Status: row.Status, FailedReason: row.FailedReason,
	}
}

func (s *Simulator) getCharge(w http.ResponseWriter, r *http.Request) {
	c, start, proxied := s.lookup(r.PathValue("key"))
	switch {
	case proxied:
		w.Header().Set("Content-Type", "text/html")
		w.WriteHeader(http.StatusBadRequest)
		_, _ = io.WriteString(w, "<html>Bad Request</html>") // an error means that the client is gone; it will retry
		return
	case c == nil:
		refuse(w, http.StatusNotFound, "charge_not_found")
		return
	}
	answer(w, http.StatusOK, s.result(c))
	if start {
		s.wait.Go(func() { s.callbacks(c) })
	}
}

func (s *Simulator) getRefund(w http.ResponseWriter, r *http.Request) {
	row, found := s.lookupRefund(r.PathValue("id"))
	if !found {
		refuse(w, http.StatusNotFound, "refund_not_found")
		return
	}
	answer(w, http.StatusOK, resultOf(row))
}

// hang leaves a request without a response until its client disconnects.
func (s *Simulator) hang(r *http.Request, name string) {
	const patience = time.Minute
	limit := time.NewTimer(patience)
	defer limit.Stop()
	waiting, _ := r.Context().Value(client{}).(context.Context)
	select {
	case <-waiting.Done():
	case <-limit.C:
	case <-s.ctx.Done():
	}
	s.count(name)
	panic(http.ErrAbortHandler) // closes the connection without a response
}

func (s *Simulator) count(name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.did(name)
}

// read decodes a JSON body. It accepts application/json only: a browser sends that
// for a page of another site only after a CORS preflight, which this server never
// allows.
func read(w http.ResponseWriter, r *http.Request, into any) bool {
	if mediaType, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || mediaType != "application/json" {
		refuse(w, http.StatusUnsupportedMediaType, "content_type")
		return false
	}
	data, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	if err != nil {
		refuse(w, http.StatusRequestEntityTooLarge, "too_large")
		return false
	}
	if err := strictjson.Unmarshal(data, into); err != nil {
		refuse(w, http.StatusBadRequest, "not_json")
		return false
	}
	return true
}

func answer(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(body) // an error means that the client is gone; it will retry
}

func refuse(w http.ResponseWriter, status int, code string) {
	answer(w, status, map[string]string{"code": code})
}
