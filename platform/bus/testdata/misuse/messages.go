// Package misuse does not compile.
package misuse

import (
	"context"

	"millrace/platform/bus"
)

type paid struct{}

func (paid) EventName() string { return "payment.completed" }
func (paid) Key() string       { return "k" }

type refund struct{}

func (refund) CommandName() string { return "payment.refund" }
func (refund) Key() string         { return "k" }

func onPaid(context.Context, *bus.Tx, paid) error     { return nil }
func onRefund(context.Context, *bus.Tx, refund) error { return nil }
func withoutTx(context.Context, paid) error           { return nil }

func misuse(tx *bus.Tx, db *bus.DB) {
	_ = tx.Publish(paid{})
	_ = tx.Send(refund{})
	_ = tx.Send(paid{})      // want: paid does not implement bus.Command (missing method CommandName)
	_ = tx.Publish(refund{}) // want: refund does not implement bus.Event (missing method EventName)

	_ = bus.On(onPaid)
	_ = bus.Handle(onRefund)
	_ = bus.On(onRefund)   // want: refund) does not satisfy bus.Event (missing method EventName)
	_ = bus.Handle(onPaid) // want: paid) does not satisfy bus.Command (missing method CommandName)
	_ = bus.On(withoutTx)  // want: does not match

	_ = tx.Commit()   // want: tx.Commit undefined
	_ = tx.Rollback() // want: tx.Rollback undefined

	_ = db.Publish(paid{})                          // want: db.Publish undefined
	_, _ = db.ExecContext(context.Background(), "") // want: db.ExecContext undefined
	_ = bus.Tx{}.Publish(paid{})                    // want: cannot call pointer method Publish
	_ = bus.Publish(paid{})                         // want: undefined: bus.Publish
}
