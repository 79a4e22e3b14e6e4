package simulator

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"sync"
	"time"

	"millrace/modules/payment/gateway"
	"millrace/platform/datadir"
)

// kept is the format of the book's file.
type kept struct {
	Charges       []keptCharge   `json:"charges"`
	Refunds       []keptRefund   `json:"refunds"`
	Misbehaviours map[string]int `json:"misbehaviours"`
}

type keptCharge struct {
	Row     Charge         `json:"row"`
	Asked   gateway.Charge `json:"asked"`
	Started bool           `json:"started"` // its callbacks were started
	Ended   bool           `json:"ended"`
}

type keptRefund struct {
	Row   Refund         `json:"row"`
	Asked gateway.Refund `json:"asked"`
}

// saveEvery is the shortest interval between two writes of the file, and thus how
// much is lost by a kill. A large book is written less often: at most 1/saveShare
// of the time is spent on writing.
const (
	saveEvery = time.Second
	saveShare = 20
)

// longestBook is the largest file that is read, in bytes.
const longestBook = 1 << 30

// load reads the file, if there is one. resume then sends the callbacks that are
// not finished.
func (s *Simulator) load() error {
	data, err := datadir.ReadFile(s.cfg.File, longestBook)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	var book kept
	if err == nil {
		err = json.Unmarshal(data, &book)
	}
	if err != nil {
		return fmt.Errorf("simulator: its book cannot be read; without %s it begins an empty one: %w", s.cfg.File, err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for name, n := range book.Misbehaviours {
		s.done[name] = n
	}
	for _, k := range book.Charges {
		c := &charge{row: k.Row, asked: k.Asked, plan: s.cfg.Plan(s.cfg.Seed, k.Row.OrderKey, k.Row.Attempt), started: k.Started, ended: k.Ended}
		for _, callback := range c.row.Callbacks {
			if callback.Kind == CanceledAtDashboard {
				c.cancels++
			}
		}
		s.charges, s.byKey[c.row.TransactionKey] = append(s.charges, c), c
		s.attempts[c.row.OrderKey] = max(s.attempts[c.row.OrderKey], c.row.Attempt)
		if !c.ended {
			s.open++
		}
	}
	for _, k := range book.Refunds {
		r := &refund{row: k.Row, asked: k.Asked}
		s.refunds, s.byRefund[r.row.RefundID] = append(s.refunds, r), r
	}
	return nil
}

// unfinished returns the charges whose callbacks an earlier process did not finish.
func (s *Simulator) unfinished() (all []*charge) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, c := range s.charges {
		if c.started && !c.ended {
			all = append(all, c)
		}
	}
	return all
}

// resume repeats the callbacks of an earlier process that got no final response,
// with the same ids. If the callback with the true result had not been started, it
// is sent. Misbehaviour that the plan had not started yet is skipped.
func (s *Simulator) resume(c *charge) {
	defer s.end(c)
	truth := s.result(c)
	s.mu.Lock()
	begun := append([]Callback{}, c.row.Callbacks...)
	s.mu.Unlock()
	right := false
	var all sync.WaitGroup
	for i, callback := range begun {
		right = right || callback.Kind == RightCallback
		if callback.Done {
			continue
		}
		again := truth
		if again.Status, again.Amount = callback.Status, callback.Amount; again.Status != truth.Status {
			again.FailedReason = ""
		}
		body, err := json.Marshal(again)
		if err != nil {
			panic(err) // strings and numbers always encode
		}
		all.Go(func() { s.deliver(c, i, callback.ID, callback.Kind, body) })
	}
	all.Wait()
	if !right {
		s.send(c, RightCallback, truth, 1)
	}
}

// saveUntilClosed writes the file after changes.
func (s *Simulator) saveUntilClosed() {
	tick := time.NewTimer(saveEvery)
	defer tick.Stop()
	for {
		select {
		case <-s.ctx.Done():
			return // Close writes the last changes
		case <-tick.C:
			began := time.Now()
			if err := s.save(); err != nil {
				s.cfg.Log.Warn("the gateway simulator's book is not saved; it is tried again", "error", err)
			}
			tick.Reset(max(saveEvery, saveShare*time.Since(began)))
		}
	}
}

// save replaces the file if anything changed. The replacement is atomic: a kill
// leaves either the old or the new file.
func (s *Simulator) save() (err error) {
	if s.cfg.File == "" {
		return nil
	}
	s.saving.Lock()
	defer s.saving.Unlock()
	s.mu.Lock()
	changes := s.changes
	if changes == s.saved {
		s.mu.Unlock()
		return nil
	}
	book := kept{Misbehaviours: s.done}
	for _, c := range s.charges {
		book.Charges = append(book.Charges, keptCharge{Row: c.row, Asked: c.asked, Started: c.started, Ended: c.ended})
	}
	for _, r := range s.refunds {
		book.Refunds = append(book.Refunds, keptRefund{Row: r.row, Asked: r.asked})
	}
	data, err := json.Marshal(book) // under the lock, because the rows share their callbacks
	s.mu.Unlock()
	if err != nil {
		return err
	}
	dir, err := datadir.Open(filepath.Dir(s.cfg.File), 0o700)
	if err != nil {
		return err
	}
	defer dir.Close() //nolint:errcheck // nothing is buffered in it
	if err := datadir.WriteFileIn(dir, filepath.Base(s.cfg.File), append(bytes.TrimSpace(data), '\n')); err != nil {
		return err
	}
	s.mu.Lock()
	s.saved = changes
	s.mu.Unlock()
	return nil
}
