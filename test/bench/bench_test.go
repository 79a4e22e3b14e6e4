package main

import (
	"bytes"
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestPercentile_InterpolatesBetweenNearestRanks(t *testing.T) {
	t.Parallel()
	values := []float64{4, 1, 3, 2}
	require.InDelta(t, 2.5, median(values), 1e-9)
	require.InDelta(t, 1.0, percentile(values, 0), 1e-9)
	require.InDelta(t, 4.0, percentile(values, 100), 1e-9)
	require.InDelta(t, 3.97, percentile(values, 99), 1e-9)
	require.InDelta(t, 7.0, percentile([]float64{7}, 99), 1e-9)
	require.True(t, math.IsNaN(median(nil)))
	require.Equal(t, []float64{4, 1, 3, 2}, values, "the values stay as they were")
}

func TestRatio_ComparesRoundByRound(t *testing.T) {
	t.Parallel()
	f := ratioOf([]float64{10, 40, 90}, []float64{1, 2, 3})
	require.Equal(t, figure{Median: 20, Min: 10, Max: 30, Runs: []float64{10, 20, 30}}, f)
	require.Empty(t, ratioOf([]float64{1}, []float64{0}).Runs)
	require.Empty(t, ratioOf(nil, []float64{1}).Runs)
}

func TestRate_IgnoresStartAndEnd(t *testing.T) {
	t.Parallel()
	b := newBoard(100)
	for i := range int64(100) { // 3 effects in each 10 ms, but a slow start and a slow end
		at := time.Duration(i) * 10 * time.Millisecond
		if i > 97 {
			at += time.Hour
		}
		b.marks = append(b.marks, mark{(i + 1) * 3, time.Hour + at})
	}
	b.count.Store(300)
	require.InDelta(t, 300, b.rate(), 1)
	require.Zero(t, newBoard(10).rate())
}

// The figures of memory during a large backlog are the contender's.
func TestTally_CountsWithoutAllocating(t *testing.T) {
	t.Parallel()
	const payments = 1_000_000_000
	b := newTally(payments)
	for group := range groups {
		b.effect(group, payments-1)
	}
	require.Equal(t, int64(len(groups)), b.count.Load())
	require.Equal(t, int64(payments*len(groups)), b.want)
}

func TestLatency_CountsMissingMessages(t *testing.T) {
	t.Parallel()
	b := newBoard(3)
	b.committed[0].Store(1e6)
	b.committed[1].Store(2e6)
	b.effects[0][0].Store(3e6)
	ms, missing := b.latencies(0, 3, 0, 1)
	require.Equal(t, []float64{2}, ms)
	require.Equal(t, 3, missing, "one of the first payment, two of the second; the third was never committed")
}

// One bad second of ten does not move the figure that decides.
func TestP99_MedianOfSecondsIgnoresBurst(t *testing.T) {
	t.Parallel()
	const seconds = 10
	b := newBoard(seconds * besideRate)
	for i := range b.committed {
		late := int64(2e6)
		if i/besideRate == 3 {
			late = 500e6
		}
		b.committed[i].Store(1)
		b.effects[1][i].Store(1 + late)
		b.effects[2][i].Store(1 + late)
	}
	l := besideOf(b, 0, len(b.committed))
	require.Len(t, l.p99s, seconds)
	require.InDelta(t, 2, median(l.p99s), 1e-9)
	require.InDelta(t, 500, percentile(l.ms, 99), 1e-9)
	require.Zero(t, l.missing)
}

func TestArguments_SelectMeasures(t *testing.T) {
	t.Parallel()
	o, err := parse([]string{"--quick", "--json", "--only", "handled,idle", "--cpuprofile", "cpu.pprof", "--rounds", "3"}, io.Discard)
	require.NoError(t, err)
	require.Equal(t, options{quick: true, json: true, only: []string{"handled", "idle"}, cpuprofile: "cpu.pprof", rounds: 3}, o)
	require.Equal(t, 3, o.scale().rounds)
	for _, wrong := range [][]string{{"--only", "nothing"}, {"all"}, {"--rounds", "-1"}, {"--faster"}} {
		_, err := parse(wrong, io.Discard)
		require.Error(t, err, "%v", wrong)
	}
	_, err = parse([]string{"--only", "nothing"}, io.Discard)
	require.ErrorContains(t, err, "publish, handled, latency")
}

func TestPayment_IsAbout280Bytes(t *testing.T) {
	t.Parallel()
	size := len(newPayment(12345).json())
	require.Greater(t, size, 260)
	require.Less(t, size, 320)
}

func TestReport_NamesReachedTargets(t *testing.T) {
	t.Parallel()
	f := newFindings()
	f.add("ours", handledName, 10_000)
	f.add("stock 10 ms", handledName, 1_000)
	f.add("river tuned", handledName, 5_000)
	f.add("ours", "latency ms at 100/s, p50", 2)
	f.add("ours", "latency ms at 100/s, p99", 7)
	f.add("ours", "latency ms at 500/s, p99", math.NaN())
	var out bytes.Buffer
	report(&out, f, "15", "0.10 0.10 0.10")
	require.Contains(t, out.String(), "| handled/s, 3 groups: ours / stock 10 ms | 10.0 | ≥ 5 | reached |")
	require.Contains(t, out.String(), "| handled/s, 3 groups: ours / river tuned | 2.00 | ≥ 3 | not reached |")
	require.Contains(t, out.String(), "| latency ms at 100/s, p50 | 2.00 | ≤ 3 | reached |")
	require.Contains(t, out.String(), "| latency ms at 100/s, p99 | 7.00 | ≤ 6 | not reached |")
	require.NotContains(t, out.String(), "NaN")

	line, err := json.Marshal(summary(f))
	require.NoError(t, err)
	var object map[string]any
	require.NoError(t, json.Unmarshal(line, &object))
	for _, name := range []string{"ours", "stock", "river", "floor", "ratios"} {
		require.Contains(t, object, name)
	}
}

// Every contender really handles everything, once, in each of the three groups.
func TestContender_HandlesEveryPaymentOncePerGroup(t *testing.T) {
	t.Parallel()
	const payments = 50
	s, err := startServer(t.Context(), false)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.stop()) })
	r := &run{server: s, found: newFindings(), log: io.Discard, scale: scale{floorSeconds: 1}}
	for _, work := range []struct {
		k kind
		b behaviour
	}{
		{kindOurs, behaviour{}}, {kindStock, behaviour{}}, {kindStockSlow, behaviour{}}, {kindRiver, behaviour{}}, {kindRiverTuned, behaviour{}},
		{kindOurs, behaviour{failEvery: 10}}, {kindOurs, behaviour{hot: true}}, {kindOursAlone, behaviour{hot: true}}, {kindStock, behaviour{hot: true}}, {kindRiverTuned, behaviour{hot: true}},
	} {
		err := r.with(t.Context(), work.k, func(c contender, url string) error {
			b, err := r.handle(t.Context(), c, url, payments, work.b, time.Minute, unwatched)
			if err != nil {
				return err
			}
			require.EqualValues(t, payments*len(groups), b.count.Load(), "%s %+v", work.k.name, work.b)
			return nil
		})
		require.NoError(t, err)
	}
	for _, script := range []string{floorPublish4, floorPublish1, floorHandle, floorHandleHot} {
		rate, _, err := r.floor(t.Context(), script, 2)
		require.NoError(t, err)
		require.Positive(t, rate, script)
	}
}

// This binary is started again as a worker, as the command is.
func TestMain(m *testing.M) {
	if len(os.Args) == 3 && os.Args[1] == workerArgument {
		if err := worker(context.Background(), os.Args[2], os.Stdin, os.Stdout); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

func TestProcesses_ShareQueueAndDoEachJobOnce(t *testing.T) {
	t.Parallel()
	s, err := startServer(t.Context(), false)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.stop()) })
	r := &run{server: s, found: newFindings(), log: io.Discard, scale: scale{jobsEach: 100}}
	rate, err := r.jobsOf(t.Context(), 2)
	require.NoError(t, err)
	require.Positive(t, rate)
}

// A callback that had an effect twice, or not, is an error of the measure itself.
func TestCallback_HasEachEffectOnce(t *testing.T) {
	t.Parallel()
	s, err := startServer(t.Context(), false)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.stop()) })
	r := &run{server: s, found: newFindings(), log: io.Discard, scale: scale{payFor: time.Second}}
	require.NoError(t, r.pay(t.Context(), kindOurs, openOursPay))
	require.NoError(t, r.pay(t.Context(), kindStock, openStockPay))
	require.Positive(t, r.found.of(kindOurs.name, payName).Median)
	require.NotEmpty(t, r.found.of(kindStock.name, callbackName+"p99").Runs)

	_, err = s.admin.ExecContext(t.Context(), `CREATE DATABASE wrong TEMPLATE template0`)
	require.NoError(t, err)
	db, err := sql.Open("postgres", s.URL("wrong"))
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, db.Close()) })
	_, err = db.ExecContext(t.Context(), `CREATE SCHEMA payment; CREATE SCHEMA delivery; CREATE SCHEMA notification; CREATE SCHEMA dataplatform`)
	require.NoError(t, err)
	require.NoError(t, fillPayments(t.Context(), db, 1))
	require.ErrorContains(t, payCounted(t.Context(), s.URL("wrong"), 1), "1 callbacks left [0 0 0 0]")
}

func TestCommand_PrintsOneJSONObjectLast(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	require.NoError(t, bench(t.Context(), options{quick: true, json: true, only: []string{"idle"}, rounds: 1}, &out, io.Discard))
	lines := strings.Split(strings.TrimSpace(out.String()), "\n")
	var object struct{ Ours map[string]figure }
	require.NoError(t, json.Unmarshal([]byte(lines[len(lines)-1]), &object))
	require.Contains(t, object.Ours, "idle, transaction ids/s")
	require.Positive(t, object.Ours["idle, connections"].Median)
}
