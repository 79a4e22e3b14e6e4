package dispatch_test

import (
	"context"
	"net/http"

	"millrace/platform/bus"
	"millrace/platform/dispatch"
	"millrace/platform/errs"
)

type charge struct {
	OrderKey string `json:"orderKey"`
	Amount   int64  `json:"amount"`
}

// A module has one dispatcher per kind of intent, records intents in its
// transactions, and calls Run in its own Run.
func Example() {
	charges := dispatch.New(nil, dispatch.Outside[charge, string]{
		Name: "charge",
		Call: func(ctx context.Context, in dispatch.Intent[charge]) (string, error) {
			request, err := http.NewRequestWithContext(ctx, http.MethodPost, "https://gateway.example/charges", http.NoBody)
			if err != nil {
				return "", errs.As(errs.Invalid, err) // final: a retry cannot help
			}
			request.Header.Set("Idempotency-Key", in.ID.String()) // the same for every attempt
			response, err := http.DefaultTransport.RoundTrip(request)
			if err != nil {
				return "", err // retried
			}
			defer response.Body.Close()
			return response.Status, nil
		},
		Settle: func(ctx context.Context, tx *bus.Tx, in dispatch.Intent[charge], out dispatch.Outcome[string]) error {
			if out.Err != nil {
				_, err := tx.ExecContext(ctx, `UPDATE payment SET state = 'unknown' WHERE order_key = $1`, in.Key)
				return err
			}
			_, err := tx.ExecContext(ctx, `UPDATE payment SET state = 'asked' WHERE order_key = $1`, in.Key)
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
