package web_test

import (
	"context"
	"fmt"
	"net/http"
	"testing"

	"github.com/lib/pq"
	"github.com/stretchr/testify/require"

	"millrace/platform/errs"
)

func TestHandle_LogsUnexpectedConstraintViolationWithNameAndHelp(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		err    error
		status int
		logged []string
	}{
		"UniqueKeyThatWeMade": {
			fmt.Errorf("insert: %w", &pq.Error{Code: "23505", Schema: "delivery", Table: "history", Constraint: "history_pkey", Message: "duplicate key"}), 500,
			[]string{`"level":"ERROR"`, `"constraint":"history_pkey"`, `"table":"delivery.history"`, "setval(", `"status":500`},
		},
		"UniqueKeyWrappedWithoutKind": {
			errs.New(errs.Unknown, "insert: %w", &pq.Error{Code: "23505", Schema: "payment", Table: "charges", Constraint: "charges_pkey"}), 500,
			[]string{`"level":"ERROR"`, `"constraint":"charges_pkey"`, "setval("},
		},
		"ForeignKey": {
			&pq.Error{Code: "23503", Schema: "delivery", Table: "history", Constraint: "history_delivery_id_fkey"}, 409,
			[]string{`"level":"ERROR"`, `"constraint":"history_delivery_id_fkey"`},
		},
		"Check": {
			&pq.Error{Code: "23514", Schema: "payment", Table: "payments", Constraint: "payments_money"}, 409,
			[]string{`"level":"ERROR"`, `"constraint":"payments_money"`},
		},
		"NotNull": {
			&pq.Error{Code: "23502", Schema: "payment", Table: "payments", Column: "user_id"}, 409,
			[]string{`"level":"ERROR"`, `"constraint":"not null of user_id"`},
		},
		"ExpectedByItsModule": {errs.As(errs.Conflict, &pq.Error{Code: "23505", Constraint: "orders_pkey"}), 409, nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			send, log := serve(t, c.err)
			w := send(good)
			problem(t, w, c.status)
			if c.logged == nil {
				require.Empty(t, log.String())
			}
			for _, part := range c.logged {
				require.Contains(t, log.String(), part)
			}
			require.NotContains(t, w.Body.String(), "pkey")
		})
	}
}

func TestHandle_LockTimeoutIsUnavailableAndNamesLock(t *testing.T) {
	t.Parallel()
	for name, err := range map[string]error{
		"LockTimeout": fmt.Errorf("update: %w", &pq.Error{Code: "55P03", Message: "canceling statement due to lock timeout"}),
		"OwnDeadline": errs.New(errs.Resource, "%w: %w", errs.ErrLocked, context.DeadlineExceeded),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			send, log := serve(t, err)
			w := send(good)
			p := problem(t, w, http.StatusServiceUnavailable)
			require.Contains(t, p.Detail, "lock")
			require.Equal(t, "1", w.Header().Get("Retry-After"))
			require.Contains(t, log.String(), `"level":"ERROR"`)
		})
	}
}
