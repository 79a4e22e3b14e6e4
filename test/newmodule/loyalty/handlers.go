package loyalty

import (
	"context"

	"millrace/modules/payment/paymentapi"
	"millrace/platform/bus"
	"millrace/test/newmodule/loyalty/loyaltyapi"
)

// awardPoints commits the points, the event and the offset together, or nothing.
func (m *Module) awardPoints(ctx context.Context, tx *bus.Tx, paid paymentapi.Completed) error {
	points := paid.Amount / 100
	_, err := tx.ExecContext(ctx, `
		INSERT INTO account (user_id, points) VALUES ($1, $2)
		ON CONFLICT (user_id) DO UPDATE SET points = account.points + excluded.points`, paid.UserID, points)
	if err != nil {
		return err
	}
	return tx.Publish(loyaltyapi.PointsAwarded{UserID: paid.UserID, OrderKey: paid.OrderKey, Points: points})
}
