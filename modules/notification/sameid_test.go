package notification_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"millrace/modules/delivery/deliveryapi"
	"millrace/platform/bus"
)

// Each module's role gives its own messages whatever id it likes.
func TestNotification_MessageOfAnotherModuleWithTheSameIDHidesNothing(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.contact("kim@example.com", "ko")
	b.When(deliveryapi.Shipped{DeliveryID: "d", OrderKey: order, UserID: "1001", Carrier: "ems", TrackingNumber: "EM1"})
	b.ThenRow(`SELECT count(*) FROM notifications`, 1)
	b.When(deliveryapi.Delivered{DeliveryID: "d", OrderKey: order, UserID: "1001", Carrier: "ems", TrackingNumber: "EM1"})
	require.NoError(t, b.db.InTx(t.Context(), func(tx *bus.Tx) error {
		_, err := tx.ExecContext(t.Context(), `SELECT payment.append_log_one(partition, id, 'payment.completed', key, convert_to($1, 'UTF8'), metadata) FROM delivery.log WHERE type = 'delivery.shipped'`,
			`{"paymentId":"p","orderKey":"goods-17","orderKind":"goods","userId":"1001","amount":15000,"currency":"KRW"}`)
		return err
	}))
	b.ThenRow(`SELECT count(*), count(DISTINCT cause_id), count(DISTINCT cause_type) FROM notifications`, 3, 2, 3)
	require.Empty(t, b.DeadLetters())
}
