package demo

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"millrace/cmd/millrace/terminal"
	"millrace/platform/bus/trace"
)

// report prints the result of the run.
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

func printTallies(out *terminal.Printer, tallies []tally) {
	out.Printf("\nWhat became of the messages, each column counted by itself:\n")
	rows := [][]string{strings.Fields("subscriber of messages handled skipped pending retrying blocked dead discarded LOST")}
	for _, t := range tallies {
		if t.Messages == 0 { // a topic that this transport does not use
			continue
		}
		row := []string{t.Subscriber, t.Topic}
		for _, n := range []int64{t.Messages, t.Handled, t.Skipped, t.Pending, t.Retrying, t.Held, t.Dead, t.Discarded, t.Lost} {
			row = append(row, strconv.FormatInt(n, 10))
		}
		rows = append(rows, row)
	}
	out.Table(tabwriter.AlignRight, rows...)
}

func printMisbehaviours(out *terminal.Printer, counts map[string]int) {
	out.Printf("\nWhat the payment gateway did, by its own book:\n")
	var rows [][]string
	for _, name := range slices.SortedFunc(maps.Keys(counts), func(a, b string) int { return cmp.Or(counts[b]-counts[a], strings.Compare(a, b)) }) {
		rows = append(rows, []string{"  " + strings.ReplaceAll(name, "_", " "), fmt.Sprintf("%d times", counts[name])})
	}
	out.Table(0, rows...)
}

// printTimeline prints the timeline of an order or a consultation. Without a key it
// picks the oldest payment that is not final, or else a refunded one, because those
// have the longest timelines.
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
	if len(r.stage.parts) > 0 { // read the modules' own databases, as an operator would
		databases = nil
		for _, p := range r.stage.parts {
			databases = append(databases, p.db)
		}
	}
	messages, err := trace.Conversation(ctx, r.stage.topo, key, databases...)
	if err != nil {
		return err
	}
	r.Out.Printf("\nThe timeline of order %s:\n", key)
	if len(messages) == 0 {
		return nil
	}
	began := messages[0].At
	var rows [][]string
	for _, m := range messages {
		rows = append(rows, []string{"  +" + since(began, m.At), m.By + " " + m.Verb() + " " + m.Type, ""})
		for _, h := range m.Hops {
			rows = append(rows, []string{"  +" + since(began, h.At), "    " + h.Outcome + " by " + h.Subscriber, h.Source})
		}
	}
	r.Out.Table(0, rows...)
	return nil
}

func since(began, at time.Time) string {
	return fmt.Sprintf("%6.3f s", at.Sub(began).Seconds())
}

// printTranscript prints the chat with the most different cards, as both sides see
// it.
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
	r.Out.Printf("\nThe chat of consultation %d:\n", id)
	for _, entry := range room.Entries {
		side := map[string]string{"CUSTOMER": "고객 customer", "HOSPITAL": "병원 hospital"}[entry.Speaker]
		if entry.Card != nil {
			r.Out.Printf("  %s  ┌ %s / %s\n  %s  └ %s / %s\n", side, entry.Card.Title.Ko, entry.Card.Title.En, side, entry.Card.Text.Ko, entry.Card.Text.En)
			continue
		}
		r.Out.Printf("  %s    %s\n", side, entry.Text)
	}
	return nil
}

func printFindings(out *terminal.Printer, findings []finding) {
	out.Printf("\nWhat must hold, by the tables, the gateway's book and the mailbox:\n")
	out.Block(`The promises are those of docs/guarantees.md: S1 to S8 hold at every instant, L1 and L2 when all is` + "\n")
	out.Printf("settled; IN is the input, DP the data platform's files, and GW whether the gateway misbehaved in every way.\n")
	for _, f := range findings {
		if len(f.Offenders) == 0 {
			out.Printf("  ok    %s  %s\n", f.Name, f.Promise)
			continue
		}
		out.Printf("  FAIL  %s  %s\n", f.Name, f.Promise)
		const shown = 10
		for _, offender := range f.Offenders[:min(shown, len(f.Offenders))] {
			out.Printf("          %s\n", offender)
		}
		if more := len(f.Offenders) - shown; more > 0 {
			out.Printf("          and %d more\n", more)
		}
	}
}
