package demo

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"millrace/platform/bus/trace"
)

// report tells people what was found.
func (r *running) report(ctx context.Context, e *evidence, findings []finding) error {
	printTallies(r.Out, e.tallies)
	printMisbehaviours(r.Out, e.book.Misbehaviours)
	if err := r.printTimeline(ctx, ""); err != nil {
		return err
	}
	if err := r.printTranscript(ctx); err != nil {
		return err
	}
	printFindings(r.Out, findings)
	return nil
}

func printTallies(out io.Writer, tallies []tally) {
	fmt.Fprintln(out, "\nWhat became of the messages, each column counted by itself:")
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(table, "subscriber\tof\tmessages\thandled\tskipped\tpending\tretrying\theld\tdead\tdiscarded\tLOST\t")
	for _, t := range tallies {
		if t.Messages == 0 { // of a way that they did not travel
			continue
		}
		fmt.Fprintf(table, "%s\t%s\t%d\t%d\t%d\t%d\t%d\t%d\t%d\t%d\t%d\t\n", t.Subscriber, t.Topic,
			t.Messages, t.Handled, t.Skipped, t.Pending, t.Retrying, t.Held, t.Dead, t.Discarded, t.Lost)
	}
	_ = table.Flush() // what cannot be printed cannot be told either
}

func printMisbehaviours(out io.Writer, counts map[string]int) {
	fmt.Fprintln(out, "\nWhat the payment gateway did, by its own book:")
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	for _, name := range slices.SortedFunc(maps.Keys(counts), func(a, b string) int { return cmp.Or(counts[b]-counts[a], strings.Compare(a, b)) }) {
		fmt.Fprintf(table, "  %s\t%d times\n", strings.ReplaceAll(name, "_", " "), counts[name])
	}
	_ = table.Flush() // likewise
}

// printTimeline tells the conversation of an order or a consultation. Without
// a key it is the oldest payment's that is not final, or a refunded one's, for
// most happened to it.
func (r *running) printTimeline(ctx context.Context, key string) error {
	if key == "" {
		err := r.stage.db.QueryRowContext(ctx, `SELECT order_key FROM payment.payments
			ORDER BY status IN ('pending', 'refunding') DESC, order_kind = 'goods' DESC, status = 'refunded' DESC, status = 'completed' DESC, created_at LIMIT 1`).Scan(&key)
		if errors.Is(err, sql.ErrNoRows) {
			return nil
		}
		if err != nil {
			return err
		}
	}
	databases := []*sql.DB{r.stage.db}
	if len(r.stage.parts) > 0 { // as an operator has to look
		databases = nil
		for _, p := range r.stage.parts {
			databases = append(databases, p.db)
		}
	}
	said, err := trace.Conversation(ctx, r.stage.topo, key, databases...)
	if err != nil {
		return err
	}
	fmt.Fprintf(r.Out, "\nThe timeline of order %s:\n", key)
	if len(said) == 0 {
		return nil
	}
	began := said[0].At
	table := tabwriter.NewWriter(r.Out, 0, 0, 2, ' ', 0)
	for _, m := range said {
		fmt.Fprintf(table, "  +%s\t%s says %s\t\n", since(began, m.At), m.By, m.Type)
		for _, h := range m.Hops {
			fmt.Fprintf(table, "  +%s\t    %s by %s\t%s\n", since(began, h.At), h.Outcome, h.Subscriber, h.Source)
		}
	}
	return table.Flush()
}

func since(began, at time.Time) string {
	return fmt.Sprintf("%6.3f s", at.Sub(began).Seconds())
}

// printTranscript shows one chat as both sides see it: the one with the most
// different cards.
func (r *running) printTranscript(ctx context.Context) error {
	var id int64
	err := r.stage.db.QueryRowContext(ctx, `SELECT r.consultation_id FROM inquiry.room r JOIN inquiry.entry e ON e.room_id = r.id
		GROUP BY r.id ORDER BY count(DISTINCT e.card) DESC, count(*) DESC, r.consultation_id LIMIT 1`).Scan(&id)
	if errors.Is(err, sql.ErrNoRows) {
		return nil
	}
	if err != nil {
		return err
	}
	type words struct{ Ko, En string }
	var room struct {
		Entries []struct {
			Speaker string
			At      time.Time
			Text    string
			Card    *struct {
				Actor       string
				Title, Text words
			}
		}
	}
	if err := r.client.do(ctx, http.MethodGet, fmt.Sprintf("/rooms/%d", id), "", nil, &room); err != nil {
		return err
	}
	fmt.Fprintf(r.Out, "\nThe chat of consultation %d:\n", id)
	for _, entry := range room.Entries {
		side := map[string]string{"CUSTOMER": "고객 customer", "HOSPITAL": "병원 hospital"}[entry.Speaker]
		if entry.Card != nil {
			fmt.Fprintf(r.Out, "  %s  ┌ %s / %s\n  %s  └ %s / %s\n", side, entry.Card.Title.Ko, entry.Card.Title.En, side, entry.Card.Text.Ko, entry.Card.Text.En)
			continue
		}
		fmt.Fprintf(r.Out, "  %s    %s\n", side, entry.Text)
	}
	return nil
}

func printFindings(out io.Writer, findings []finding) {
	fmt.Fprintln(out, "\nWhat must hold, by the tables, the gateway's book and the mailbox:")
	fmt.Fprintln(out, `The promises are those of README's table "What is promised": S1 to S8 hold at every instant, L1 and L2 when all is`)
	fmt.Fprintln(out, "settled; IN is what was handed in, DP the data platform's files, and GW whether the gateway was as bad as it can be.")
	for _, f := range findings {
		if len(f.Offenders) == 0 {
			fmt.Fprintf(out, "  ok    %s  %s\n", f.Name, f.Promise)
			continue
		}
		fmt.Fprintf(out, "  FAIL  %s  %s\n", f.Name, f.Promise)
		const told = 10
		for _, offender := range f.Offenders[:min(told, len(f.Offenders))] {
			fmt.Fprintf(out, "          %s\n", offender)
		}
		if more := len(f.Offenders) - told; more > 0 {
			fmt.Fprintf(out, "          and %d more\n", more)
		}
	}
}
