package attention

import (
	"context"
	"database/sql"
	"fmt"
	"strconv"

	"github.com/google/uuid"

	"millrace/platform/errs"
	"millrace/platform/text"
)

// Queryer is a database or a transaction.
type Queryer interface {
	QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
	QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row
}

// Filter selects the items to list.
type Filter struct {
	Reason Reason // "": every reason
	After  int64  // only items with a greater id: the last id of the previous page
	Limit  int    // maximum number of items, more than 0
}

// List returns open items, oldest first, and the number of open items after them.
// db is any connection that can read the schema's tables.
func List(ctx context.Context, db Queryer, schema string, f Filter) (items []Item, more int, err error) {
	defer errs.Wrap(&err, "list payments that need attention")
	rows, err := db.QueryContext(ctx, fmt.Sprintf(`
		SELECT a.attention_id, a.reason, a.detail, a.since, coalesce(p.released_order_key, p.order_key), p.payment_id,
		       p.status, p.amount, p.captured, p.refunded, p.currency
		FROM %[1]s.attention a JOIN %[1]s.payments p USING (payment_id)
		WHERE a.ended_at IS NULL AND a.attention_id > $1 AND ($2 = '' OR a.reason = $2)
		ORDER BY a.attention_id LIMIT $3`, schema), f.After, f.Reason, f.Limit)
	if err != nil {
		return nil, 0, err
	}
	defer rows.Close()
	last := f.After
	for rows.Next() {
		var i Item
		if err := rows.Scan(&i.ID, &i.Reason, &i.Detail, &i.Since, &i.OrderKey, &i.PaymentID, &i.Status, &i.Amount, &i.Captured, &i.Refunded, &i.Currency); err != nil {
			return nil, 0, err
		}
		i.Since, i.NextStep, last = i.Since.UTC(), i.Reason.NextStep(), i.ID
		items = append(items, i)
	}
	if err := rows.Err(); err != nil || len(items) < f.Limit {
		return items, 0, err
	}
	err = db.QueryRowContext(ctx, fmt.Sprintf(`SELECT count(*) FROM %s.attention WHERE ended_at IS NULL AND attention_id > $1 AND ($2 = '' OR reason = $2)`, schema),
		last, f.Reason).Scan(&more)
	return items, more, err
}

// Acknowledge ends an open item, or all open items of a payment, and stores who
// did it and why. id is an item's id or a payment's. It returns the number of
// ended items. The error is Invalid if id is neither, NotFound if it names
// nothing, and Conflict if the item has already ended.
func Acknowledge(ctx context.Context, db Queryer, schema, id, by, why string) (n int, err error) {
	defer errs.Wrap(&err, "acknowledge %s", id)
	const longest = 500
	by, fault := text.Given(by, longest)
	if fault != "" {
		return 0, errs.InvalidField("by", "%s: who acknowledges it", fault)
	}
	if why, fault = text.Given(why, longest); fault != "" {
		return 0, errs.InvalidField("reason", "%s: why nothing is left to do", fault)
	}
	column := "attention_id"
	var key any
	if number, err := strconv.ParseInt(id, 10, 64); err == nil {
		key = number
	} else if payment, err := uuid.Parse(id); err == nil {
		column, key = "payment_id", payment
	} else {
		return 0, errs.InvalidField("id", "%q is neither an item's number nor a payment's id, as `millrace payments --needs-attention` lists them", id)
	}
	err = db.QueryRowContext(ctx, fmt.Sprintf(`
		WITH ended AS (
			UPDATE %s.attention SET ended_at = now(), ended_by = $2, ended_why = $3
			WHERE %s = $1 AND ended_at IS NULL RETURNING 1
		) SELECT count(*) FROM ended`, schema, column), key, by, why).Scan(&n)
	if err != nil || n > 0 {
		return n, err
	}
	var items int
	var who string
	err = db.QueryRowContext(ctx, fmt.Sprintf(`SELECT count(*), coalesce((array_agg(ended_by ORDER BY ended_at DESC))[1], '') FROM %s.attention WHERE %s = $1`, schema, column), key).Scan(&items, &who)
	switch {
	case err != nil:
		return 0, err
	case items == 0:
		return 0, errs.New(errs.NotFound, "nothing of that number or payment needs attention")
	case who == "":
		return 0, errs.New(errs.Conflict, "it has ended by itself: nothing is left to acknowledge")
	}
	return 0, errs.New(errs.Conflict, "it was acknowledged by %s", who)
}
