package dataplatform

import (
	"context"

	"millrace/platform/bus"
)

// stage stores the event until it is written to a file. Staging the same event
// again, as after a subscriber was reset to the start, adds no row.
func (m *Module) stage(ctx context.Context, tx *bus.Tx, received bus.Received) error {
	rec, err := newRecord(received)
	if err != nil {
		return err
	}
	return stageRecord(ctx, tx, rec)
}
