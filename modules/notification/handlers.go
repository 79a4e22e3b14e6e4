package notification

import (
	"context"
	"slices"
	"strconv"

	"millrace/modules/delivery/deliveryapi"
	"millrace/modules/notification/notificationapi"
	"millrace/modules/payment/paymentapi"
	"millrace/platform/bus"
	"millrace/platform/errs"
)

func (m *Module) onPaymentCompleted(ctx context.Context, tx *bus.Tx, e paymentapi.Completed) error {
	return m.service.notify(ctx, tx, notification{
		UserID: e.UserID, Template: paymentCompleted, Subject: e.OrderKey,
		Params: paid(e.OrderKind, e.Amount, e.Currency),
	})
}

func (m *Module) onPaymentFailed(ctx context.Context, tx *bus.Tx, e paymentapi.Failed) error {
	n := notification{UserID: e.UserID, Template: paymentFailed, Subject: e.OrderKey, Params: paid(e.OrderKind, e.Amount, e.Currency)}
	n.Params[paramReason] = e.FailedReason
	return m.service.notify(ctx, tx, n)
}

func (m *Module) onPaymentRefunded(ctx context.Context, tx *bus.Tx, e paymentapi.Refunded) error {
	n := notification{UserID: e.UserID, Template: paymentRefunded, Subject: e.OrderKey, Params: paid(e.OrderKind, e.Amount, e.Currency)}
	n.Params[paramReason] = e.Reason
	return m.service.notify(ctx, tx, n)
}

func paid(kind paymentapi.OrderKind, amount int64, currency string) map[string]string {
	return map[string]string{paramOrderKind: string(kind), paramAmount: strconv.FormatInt(amount, 10), paramCurrency: currency}
}

func (m *Module) onDeliveryShipped(ctx context.Context, tx *bus.Tx, e deliveryapi.Shipped) error {
	return m.service.notify(ctx, tx, notification{
		UserID: e.UserID, Template: deliveryShipped, Subject: e.OrderKey,
		Params: map[string]string{paramCarrier: e.Carrier, paramTrackingNumber: e.TrackingNumber},
	})
}

func (m *Module) onDeliveryDelivered(ctx context.Context, tx *bus.Tx, e deliveryapi.Delivered) error {
	return m.service.notify(ctx, tx, notification{
		UserID: e.UserID, Template: deliveryDelivered, Subject: e.OrderKey,
		Params: map[string]string{paramCarrier: e.Carrier, paramTrackingNumber: e.TrackingNumber},
	})
}

// sendRequested handles notification.send.
func (m *Module) sendRequested(ctx context.Context, tx *bus.Tx, c notificationapi.Send) error {
	if !slices.Contains(onRequest, c.Template) {
		return errs.InvalidField("template", "%q is none of %q", c.Template, onRequest)
	}
	return m.service.notify(ctx, tx, notification{UserID: c.UserID, Template: c.Template, Subject: c.Subject, Params: c.Params})
}
