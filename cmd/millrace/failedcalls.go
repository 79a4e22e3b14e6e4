package main

import (
	"context"
	"database/sql"

	"millrace/platform/bus/deadletter"
	"millrace/platform/outbound"
)

// retryOne retries the outbound call or the dead letter with that id.
func retryOne(ctx context.Context, db *sql.DB, modules []string, id string) (by string, err error) {
	if outbound.IsCall(id) {
		return "its module", outbound.Retry(ctx, db, modules, id)
	}
	return "its subscriber", deadletter.Retry(ctx, db, modules, id)
}
