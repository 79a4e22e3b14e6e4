package simulator

import (
	"net/http"

	"millrace/modules/payment/gateway"
	"millrace/platform/errs"
)

// maxCancels limits the cancellations of one charge at the dashboard.
const maxCancels = 100

// Cancel returns all or a part of a captured charge, as an employee of the
// provider can at its dashboard, without a refund request of the client. amount is
// in minor units, at most what is left; 0 means all of it. Cancel starts a
// callback with the status and does not wait for it. The default status is
// CANCELED if nothing is left afterwards, otherwise PARTIAL_CANCELED.
func (s *Simulator) Cancel(transactionKey string, amount int64, status gateway.Status) error {
	s.mu.Lock()
	c := s.byKey[transactionKey]
	switch {
	case c == nil || c.row.Status != gateway.Approved:
		s.mu.Unlock()
		return errs.InvalidField("transactionKey", "is no captured charge")
	case amount == 0:
		amount = c.row.Amount - c.row.Refunded
	}
	if amount <= 0 || amount > c.row.Amount-c.row.Refunded {
		s.mu.Unlock()
		return errs.InvalidField("amount", "must be more than 0 and at most what is left of the charge")
	}
	if status != "" && !status.Valid() {
		s.mu.Unlock()
		return errs.InvalidField("status", "must be capitals or '_', and not long")
	}
	if c.cancels >= maxCancels {
		s.mu.Unlock()
		return errs.InvalidField("transactionKey", "has been given back in %d parts at the dashboard, and takes no more", maxCancels)
	}
	c.cancels++
	c.row.Refunded += amount
	s.did(CanceledAtDashboard)
	s.open++
	if status == "" {
		status = gateway.PartialCanceled
		if c.row.Refunded == c.row.Amount {
			status = gateway.Canceled
		}
	}
	s.mu.Unlock()
	report := s.result(c)
	report.Status = status
	s.wait.Go(func() {
		s.send(c, CanceledAtDashboard, report, 1)
		s.mu.Lock()
		defer s.mu.Unlock()
		s.open--
		s.changes++
	})
	return nil
}

func (s *Simulator) postCancel(w http.ResponseWriter, r *http.Request) {
	var asked struct {
		TransactionKey string         `json:"transactionKey"`
		Amount         int64          `json:"amount"`
		Status         gateway.Status `json:"status"`
	}
	if !read(w, r, &asked) {
		return
	}
	if err := s.Cancel(asked.TransactionKey, asked.Amount, asked.Status); err != nil {
		refuse(w, http.StatusUnprocessableEntity, errs.FieldOf(err))
		return
	}
	w.WriteHeader(http.StatusAccepted)
}
