package simulator

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"time"

	"millrace/modules/payment/gateway"
)

// kept is the book with what else is remembered, as the file holds it.
type kept struct {
	Charges       []keptCharge   `json:"charges"`
	Refunds       []keptRefund   `json:"refunds"`
	Misbehaviours map[string]int `json:"misbehaviours"`
}

type keptCharge struct {
	Row   Charge         `json:"row"`
	Asked gateway.Charge `json:"asked"`
	Told  bool           `json:"told"` // its callbacks were started
	Ended bool           `json:"ended"`
}

type keptRefund struct {
	Row   Refund         `json:"row"`
	Asked gateway.Refund `json:"asked"`
}

// saveEvery bounds how often the file is written, and how much a kill forgets.
const saveEvery = time.Second

// load reads the file, if there is one. What was not told for good is told
// again by resume.
func (s *Simulator) load() error {
	data, err := os.ReadFile(s.cfg.File)
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
		c := &charge{row: k.Row, asked: k.Asked, plan: PlanFor(s.cfg.Seed, k.Row.OrderKey, k.Row.Attempt), told: k.Told, ended: k.Ended}
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

// unended lists the charges whose callbacks an earlier process did not end.
func (s *Simulator) unended() (all []*charge) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, c := range s.charges {
		if c.told && !c.ended {
			all = append(all, c)
		}
	}
	return all
}

// resume sends the callbacks again that were not answered for good, under their
// ids; and the right one, if it had not been begun. What the plan had in mind
// beyond that is not done.
func (s *Simulator) resume(c *charge) {
	defer s.end(c)
	truth := s.result(c)
	s.mu.Lock()
	begun := append([]Callback{}, c.row.Callbacks...)
	s.mu.Unlock()
	right := false
	var all sync.WaitGroup
	for i, told := range begun {
		right = right || told.Kind == RightCallback
		if told.Done {
			continue
		}
		again := truth
		if again.Status, again.Amount = told.Status, told.Amount; again.Status != truth.Status {
			again.FailedReason = ""
		}
		body, err := json.Marshal(again)
		if err != nil {
			panic(err) // strings and numbers always encode
		}
		all.Go(func() { s.deliver(c, i, told.ID, told.Kind, body) })
	}
	all.Wait()
	if !right {
		s.tell(c, RightCallback, truth, 1)
	}
}

// saveUntilClosed writes the file after changes.
func (s *Simulator) saveUntilClosed() {
	tick := time.NewTicker(saveEvery)
	defer tick.Stop()
	for {
		select {
		case <-s.ctx.Done():
			return // Close saves what is last
		case <-tick.C:
			if err := s.save(); err != nil {
				s.cfg.Log.Warn("the gateway simulator's book is not saved; it is tried again", "error", err)
			}
		}
	}
}

// save writes the file anew beside the old one and puts it in its place, if
// anything changed: a kill leaves one of the two, whole.
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
		book.Charges = append(book.Charges, keptCharge{Row: c.row, Asked: c.asked, Told: c.told, Ended: c.ended})
	}
	for _, r := range s.refunds {
		book.Refunds = append(book.Refunds, keptRefund{Row: r.row, Asked: r.asked})
	}
	data, err := json.Marshal(book) // under the lock: rows share their callbacks
	s.mu.Unlock()
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(s.cfg.File), 0o700); err != nil {
		return err
	}
	fresh := s.cfg.File + ".new"
	if err := os.WriteFile(fresh, append(bytes.TrimSpace(data), '\n'), 0o600); err != nil {
		return err
	}
	if err := os.Rename(fresh, s.cfg.File); err != nil {
		return err
	}
	s.mu.Lock()
	s.saved = changes
	s.mu.Unlock()
	return nil
}
