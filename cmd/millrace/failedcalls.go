package main

import (
	"context"
	"database/sql"
	"fmt"
	"io"
	"text/tabwriter"

	"millrace/platform/bus/deadletter"
	"millrace/platform/dispatch"
)

// listCalls shows the calls to the outside that failed for good, if there are any.
func listCalls(out io.Writer, calls []dispatch.FailedCall) error {
	if len(calls) == 0 {
		return nil
	}
	fmt.Fprintln(out, "\nCalls to the outside that failed for good:")
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "ID\tCALL\tKEY\tATTEMPTS\tFAILED\tERROR")
	for _, c := range calls {
		fmt.Fprintf(table, "%s\t%s\t%s\t%d\t%s\t%s\n", c.ID, c.Name, c.Key, c.Attempts,
			c.FailedAt.Local().Format("2006-01-02 15:04:05"), oneLine(c.Error, 120))
	}
	if err := table.Flush(); err != nil {
		return err
	}
	fmt.Fprintln(out, "\nMend the cause, then: millrace deadletters retry", calls[0].ID)
	return nil
}

// retryOne hands back what an id names: a call, or a dead letter.
func retryOne(ctx context.Context, db *sql.DB, modules []string, id string) (by string, err error) {
	if dispatch.IsCall(id) {
		return "its module", dispatch.Retry(ctx, db, modules, id)
	}
	return "its subscriber", deadletter.Retry(ctx, db, modules, id)
}
