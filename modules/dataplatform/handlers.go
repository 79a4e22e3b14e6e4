package dataplatform

import (
	"context"

	"millrace/platform/bus"
)

// stage keeps the event until its file is written. The same event again, as
// when a subscriber starts anew from the beginning, is the same row.
func (m *Module) stage(ctx context.Context, tx *bus.Tx, received bus.Received) error {
	rec, err := newRecord(received)
	if err != nil {
		return err
	}
	return stageRecord(ctx, tx, rec)
}
