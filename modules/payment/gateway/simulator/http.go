package simulator

import (
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"time"

	"millrace/modules/payment/gateway"
)

const maxBody = 64 << 10

// routes is the simulator's HTTP surface.
func (s *Simulator) routes() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("POST /charges", s.postCharge)
	mux.HandleFunc("POST /refunds", s.postRefund)
	mux.HandleFunc("GET /book", func(w http.ResponseWriter, _ *http.Request) { answer(w, http.StatusOK, s.Book()) })
	mux.HandleFunc("GET /{$}", s.page)
	return mux
}

func (s *Simulator) postCharge(w http.ResponseWriter, r *http.Request) {
	var asked gateway.Charge
	if !read(w, r, &asked) {
		return
	}
	target, err := url.Parse(asked.CallbackURL)
	switch {
	case asked.TransactionKey == "" || asked.TransactionKey != r.Header.Get("Idempotency-Key"):
		refuse(w, http.StatusUnprocessableEntity, "idempotency_key")
		return
	case asked.OrderKey == "" || asked.Amount <= 0 || len(asked.Currency) != 3:
		refuse(w, http.StatusUnprocessableEntity, "invalid_charge")
		return
	case s.cfg.CallbackURL == "" && (err != nil || loopback(target.Host) != nil):
		refuse(w, http.StatusUnprocessableEntity, "callback_url")
		return
	}
	c, what := s.ask(asked)
	switch what {
	case otherBody:
		refuse(w, http.StatusUnprocessableEntity, "idempotency_key_reused")
	case fail:
		refuse(w, http.StatusServiceUnavailable, "try_again")
	case hang:
		s.hang(r, TimeoutHidesSuccess)
	case callFirst:
		s.callbacks(c) // all of them, with their tries, unless the client gives up waiting
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
	row, what := s.askRefund(asked)
	switch what {
	case otherBody:
		refuse(w, http.StatusUnprocessableEntity, "idempotency_key_reused")
	case unknownCharge:
		refuse(w, http.StatusUnprocessableEntity, "unknown_charge")
	case fail:
		refuse(w, http.StatusServiceUnavailable, "try_again")
	case hang:
		s.hang(r, RefundHidden)
	default:
		answer(w, http.StatusOK, gateway.RefundResult{
			RefundID: row.RefundID, TransactionKey: row.TransactionKey, Amount: row.Amount, Currency: row.Currency,
			Status: row.Status, FailedReason: row.FailedReason,
		})
	}
}

// hang leaves a request without an answer until its client gives up.
func (s *Simulator) hang(r *http.Request, name string) {
	const patience = time.Minute
	limit := time.NewTimer(patience)
	defer limit.Stop()
	select {
	case <-r.Context().Done():
	case <-limit.C:
	case <-s.ctx.Done():
	}
	s.count(name)
	panic(http.ErrAbortHandler) // no answer at all, whatever the reason
}

func (s *Simulator) count(name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.did(name)
}

func read(w http.ResponseWriter, r *http.Request, into any) bool {
	data, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	if err != nil {
		refuse(w, http.StatusRequestEntityTooLarge, "too_large")
		return false
	}
	if err := json.Unmarshal(data, into); err != nil {
		refuse(w, http.StatusBadRequest, "not_json")
		return false
	}
	return true
}

func answer(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(body) // the client is gone: it will ask again
}

func refuse(w http.ResponseWriter, status int, code string) {
	answer(w, status, map[string]string{"code": code})
}
