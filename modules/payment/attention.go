package payment

import (
	"context"
	"log/slog"
	"time"

	"millrace/modules/payment/attention"
	"millrace/platform/bus"
	"millrace/platform/telemetry"
)

// Metrics returns the number of payments that a person must look at, by reason.
func (m *Module) Metrics() []telemetry.Metric {
	all := make([]telemetry.Metric, len(attention.Reasons))
	for i, reason := range attention.Reasons {
		all[i] = telemetry.Metric{
			Name: "millrace_payments_needing_attention", Labels: map[string]string{"reason": string(reason)},
			Help: "Payments that a person must look at, by reason: see millrace payments --needs-attention.",
			Value: func(ctx context.Context) (n float64, err error) {
				return n, m.service.db.QueryRowContext(ctx, `SELECT count(*) FROM attention WHERE ended_at IS NULL AND reason = $1`, reason).Scan(&n)
			},
		}
	}
	return all
}

// needsAttention opens an attention item about a locked payment. If an item with
// the same reason is open, the new detail is appended to it once. At maxDetail
// characters "more" is appended instead; the payment's results have all details.
func needsAttention(ctx context.Context, tx *bus.Tx, p *payment, why attention.Reason, detail string) error {
	slog.WarnContext(ctx, "payment needs attention", "payment_id", p.ID, "order_key", p.OrderKey, "payment_status", p.Status, "reason", why, "detail", detail)
	return changeOne(tx.ExecContext(ctx, `
		INSERT INTO attention AS a (payment_id, reason, detail) VALUES ($1, $2, $3)
		ON CONFLICT (payment_id, reason) WHERE ended_at IS NULL DO UPDATE SET detail = CASE
			WHEN EXCLUDED.detail = ANY (string_to_array(a.detail, $4)) OR right(a.detail, length($4 || $5)) = $4 || $5 THEN a.detail
			WHEN length(a.detail || $4 || EXCLUDED.detail) > $6 THEN a.detail || $4 || $5
			ELSE a.detail || $4 || EXCLUDED.detail END`, p.ID, why, detail, between, "more", maxDetail))
}

const (
	between   = "; " // separates two details; no detail contains it
	maxDetail = 1000
)

// listUnknownResult opens an attention item for a missing result. It does nothing if a
// person has already acknowledged one, because every status check would reopen it.
func listUnknownResult(ctx context.Context, tx *bus.Tx, p *payment, detail string) error {
	_, err := tx.ExecContext(ctx, `
		INSERT INTO attention (payment_id, reason, detail)
		SELECT $1, $2, $3 WHERE NOT EXISTS (SELECT FROM attention WHERE payment_id = $1 AND reason = $2 AND ended_by <> '')
		ON CONFLICT (payment_id, reason) WHERE ended_at IS NULL DO UPDATE SET detail = EXCLUDED.detail`,
		p.ID, attention.UnknownResult, detail)
	return err
}

// listLongUnanswered opens an attention item for each payment and refund without a
// result for at least age, even if the gateway keeps answering PENDING.
func listLongUnanswered(ctx context.Context, tx *bus.Tx, age time.Duration) error {
	_, err := tx.ExecContext(ctx, `
		INSERT INTO attention (payment_id, reason, detail)
		SELECT DISTINCT w.payment_id, $1, 'there is no result since ' || to_char(min(w.created_at) OVER (PARTITION BY w.payment_id) AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"')
		FROM (SELECT payment_id, created_at FROM payments WHERE status = 'pending'
		      UNION ALL SELECT payment_id, created_at FROM refunds WHERE status = 'asked') w
		WHERE w.created_at <= now() - $2 * interval '1 microsecond'
		  AND NOT EXISTS (SELECT FROM attention a WHERE a.payment_id = w.payment_id AND a.reason = $1 AND (a.ended_at IS NULL OR a.ended_by <> ''))
		ON CONFLICT (payment_id, reason) WHERE ended_at IS NULL DO NOTHING`, attention.UnknownResult, age.Microseconds())
	return err
}

// endAttention closes an open item automatically. It returns false if there is
// none.
func endAttention(ctx context.Context, tx *bus.Tx, p *payment, why attention.Reason) (bool, error) {
	return changed(tx.ExecContext(ctx, `UPDATE attention SET ended_at = now() WHERE payment_id = $1 AND reason = $2 AND ended_at IS NULL`, p.ID, why))
}
