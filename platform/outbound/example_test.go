package outbound_test

import (
	"context"
	"net/http"

	"millrace/platform/bus"
	"millrace/platform/errs"
	"millrace/platform/outbound"
)

type charge struct {
	OrderKey string `json:"orderKey"`
	Amount   int64  `json:"amount"`
}

// A module has one queue per kind of call, records calls in its
// transactions, and calls Run in its own Run.
func Example() {
	charges := outbound.New(nil, outbound.Config[charge, string]{
		Name: "charge",
		Do: func(ctx context.Context, call outbound.Call[charge]) (string, error) {
			request, err := http.NewRequestWithContext(ctx, http.MethodPost, "https://gateway.example/charges", http.NoBody)
			if err != nil {
				return "", errs.As(errs.Invalid, err) // final: a retry cannot help
			}
			request.Header.Set("Idempotency-Key", call.ID.String()) // the same for every attempt
			response, err := http.DefaultTransport.RoundTrip(request)
			if err != nil {
				return "", err // retried
			}
			defer response.Body.Close()
			return response.Status, nil
		},
		OnComplete: func(ctx context.Context, tx *bus.Tx, call outbound.Call[charge], out outbound.Outcome[string]) error {
			if out.Err != nil {
				_, err := tx.ExecContext(ctx, `UPDATE payment SET state = 'unknown' WHERE order_key = $1`, call.Key)
				return err
			}
			_, err := tx.ExecContext(ctx, `UPDATE payment SET state = 'asked' WHERE order_key = $1`, call.Key)
			return err
		},
	})
	pay := func(ctx context.Context, db *bus.DB, c charge) error { // a use case
		return db.InTx(ctx, func(tx *bus.Tx) error {
			_, err := charges.Record(ctx, tx, c.OrderKey, c)
			return err
		})
	}
	run := func(ctx context.Context) error { return charges.Run(ctx) } // the module's Run
	_, _ = pay, run
}
