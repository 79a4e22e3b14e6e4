package demo

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"
)

// clients is the number of orders and consultations that are played concurrently.
const clients = 16

// play sends every order and consultation, and returns when all are answered. It ends
// early at an unexpected response, or when a wait stalls.
type play struct {
	client  *client
	moving  *movement
	started atomic.Int64 // orders and consultations
	before  func(ctx context.Context, started int64) error
	done    func()                                          // called after each order or consultation
	settled func(ctx context.Context, keys ...string) error // waits until all effects of the keys are done; nil unless the run is calm
	turns   []chan struct{}                                 // closed when the consultation is open; only in a calm run
}

// run plays the orders, with the consultations spread among them.
func (p *play) run(ctx context.Context, orders []order, consultations []consultation) error {
	outer, cancel := context.WithCancel(ctx)
	defer cancel()
	later, laterCtx := errgroup.WithContext(outer) // an order that waits for its payment does not occupy a client
	later.SetLimit(4 * clients)
	work, ctx := errgroup.WithContext(laterCtx)
	work.SetLimit(clients)
	if p.settled != nil { // a user with two addresses in the input must get the later one in every run
		for _, o := range orders {
			if err := p.contact(ctx, o); err != nil {
				return about(o.Key, err)
			}
		}
	}
	next := 0
	for i, o := range orders {
		for next*len(orders) < len(consultations)*(i+1) && next < len(consultations) {
			c := consultations[next]
			next++
			work.Go(p.one(ctx, func() error { return p.consultation(ctx, c) }))
		}
		work.Go(p.one(ctx, func() error { return p.order(ctx, laterCtx, later, o) }))
		if ctx.Err() != nil {
			break
		}
	}
	if err := work.Wait(); err != nil {
		cancel()
		return errors.Join(err, ignoreCanceled(later.Wait()))
	}
	return later.Wait()
}

// ignoreCanceled drops an error that only follows from another error's cancellation.
func ignoreCanceled(err error) error {
	if errors.Is(err, context.Canceled) {
		return nil
	}
	return err
}

func (p *play) one(ctx context.Context, do func() error) func() error {
	return func() error {
		if err := p.before(ctx, p.started.Add(1)); err != nil {
			return err
		}
		if err := do(); err != nil {
			return err
		}
		p.done()
		return nil
	}
}

type contactBody struct {
	Email    string `json:"email"`
	Language string `json:"language"`
}

type paymentBody struct {
	OrderKey string `json:"orderKey"`
	UserID   string `json:"userId"`
	Amount   int64  `json:"amount"`
	Currency string `json:"currency"`
	Method   string `json:"method"`
}

func (p *play) contact(ctx context.Context, o order) error {
	return p.client.do(ctx, http.MethodPut, "/contacts/"+o.UserID, "", contactBody{o.Email, o.Language}, nil)
}

func (p *play) order(ctx, laterCtx context.Context, later *errgroup.Group, o order) (err error) {
	defer func() { err = about(o.Key, err) }()
	address := func(ctx context.Context) error {
		return p.client.do(ctx, http.MethodPut, "/deliveries/"+o.Key+"/address", "", o.Address, nil)
	}
	if p.settled == nil { // in a calm run all contacts were sent first
		if err := p.contact(ctx, o); err != nil {
			return err
		}
	}
	if !o.AddressAfter {
		if err := address(ctx); err != nil {
			return err
		}
	}
	var begun struct {
		PaymentID string `json:"paymentId"`
	}
	if err := p.moving.room(ctx); err != nil {
		return err
	}
	body := paymentBody{o.Key, o.UserID, o.Amount, o.Currency, o.Method}
	if err := p.client.do(ctx, http.MethodPost, "/payments", "demo-"+o.Key, body, &begun); err != nil {
		return err
	}
	if o.AddressAfter {
		later.Go(func() error {
			err := p.paid(laterCtx, begun.PaymentID)
			if err == nil && p.settled != nil {
				err = p.settled(laterCtx, o.Key)
			}
			if err == nil {
				err = address(laterCtx)
			}
			return about(o.Key, err)
		})
	}
	return nil
}

// about adds the key of its order or consultation to an error.
func about(key string, err error) error {
	if err == nil {
		return nil
	}
	return &partyError{key, err}
}

// paid waits until a payment is not open any more.
func (p *play) paid(ctx context.Context, id string) error {
	for began := time.Now(); ; {
		var payment struct {
			Status string `json:"status"`
		}
		if err := p.client.do(ctx, http.MethodGet, "/payments/"+id, "", nil, &payment); err != nil {
			return err
		}
		if payment.Status != "pending" {
			return nil
		}
		if err := p.moving.stalled(began); err != nil {
			return fmt.Errorf("payment %s is pending since %s, and %w", id, time.Since(began).Round(time.Second), err)
		}
		if err := pause(ctx, 200*time.Millisecond); err != nil {
			return err
		}
	}
}

func (p *play) consultation(ctx context.Context, c consultation) error {
	if err := p.client.do(ctx, http.MethodPut, "/contacts/"+c.userID(), "", contactBody{c.Email, c.Language}, nil); err != nil {
		return err
	}
	if err := p.turn(ctx, c.Number); err != nil {
		return err
	}
	key := fmt.Sprintf("demo-consultation-%d", c.Number)
	var made struct {
		ID int64 `json:"consultationId"`
	}
	err := p.client.do(ctx, http.MethodPost, "/consultations", key, map[string]any{
		"hospitalId": c.HospitalID, "memberId": c.MemberID, "openedBy": c.OpenedBy, "reservationAt": c.ReservationAt,
		"visitorName": c.VisitorName, "phone": c.Phone,
	}, &made)
	if err != nil {
		return err
	}
	if p.turns != nil {
		close(p.turns[c.Number-1])
	}
	rest := func() error {
		if p.settled == nil {
			return nil
		}
		id := strconv.FormatInt(made.ID, 10)
		return about(id, p.settled(ctx, id, "deposit-"+id))
	}
	if err := rest(); err != nil {
		return err
	}
	for i, s := range c.Script {
		if err := p.step(ctx, c, made.ID, fmt.Sprintf("%s-%d", key, i+1), s); err != nil {
			return about(strconv.FormatInt(made.ID, 10), fmt.Errorf("consultation %d, step %d (%s %s %s): %w", made.ID, i+1, s.Do, s.Who, s.What, err))
		}
		if err := rest(); err != nil {
			return err
		}
	}
	return nil
}

// turn waits, in a calm run, until the previous consultation is open, so that
// consultations get the same numbers in each run.
func (p *play) turn(ctx context.Context, number int) error {
	if p.turns == nil || number == 1 {
		return nil
	}
	select {
	case <-p.turns[number-2]:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (p *play) step(ctx context.Context, c consultation, id int64, key string, s step) error {
	path := fmt.Sprintf("/consultations/%d", id)
	switch s.Do {
	case "move":
		return p.client.do(ctx, http.MethodPost, path+"/moves", key, map[string]string{"to": s.What, "actor": s.Who}, nil)
	case "time":
		return p.client.do(ctx, http.MethodPost, path+"/moves", key, map[string]string{"reservationAt": s.What, "actor": s.Who}, nil)
	case "memo":
		return p.client.do(ctx, http.MethodPatch, path, "", map[string]string{"memo": s.What}, nil)
	case "deposit":
		if err := p.moving.room(ctx); err != nil {
			return err
		}
		return p.client.do(ctx, http.MethodPost, "/payments", key, paymentBody{
			fmt.Sprintf("deposit-%d", id), c.userID(), c.DepositAmount, c.DepositCurrency, "card",
		}, nil)
	}
	return p.post(ctx, id, key, s)
}

// post posts a chat message. It retries, because the room opens a moment after its
// consultation.
func (p *play) post(ctx context.Context, id int64, key string, s step) error {
	for began := time.Now(); ; {
		err := p.client.do(ctx, http.MethodPost, fmt.Sprintf("/rooms/%d/messages", id), key, map[string]string{"speaker": s.Who, "text": s.What}, nil)
		var refused *refusedError
		if !errors.As(err, &refused) || refused.status != http.StatusNotFound {
			return err
		}
		if stalled := p.moving.stalled(began); stalled != nil {
			return fmt.Errorf("%w; %w", err, stalled)
		}
		if err := pause(ctx, 50*time.Millisecond); err != nil {
			return err
		}
	}
}
