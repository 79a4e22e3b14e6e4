package main

import (
	"fmt"
	"io"
	"math"
	"os"
	"runtime"
	"strings"
)

// comparison is a ratio that means something, with the target it has.
type comparison struct {
	Name    string  `json:"name"`
	Ratio   figure  `json:"ratio"`
	Target  string  `json:"target,omitempty"`
	Reached *bool   `json:"reached,omitempty"`
	atLeast float64 // 0: none
	atMost  float64 // 0: none
}

// comparisons are all ratios for which there are figures: more than 1 is
// better, but for those of times.
func comparisons(f *findings) []comparison {
	var all []comparison
	add := func(name string, a, b []float64, atLeast, atMost float64) {
		c := comparison{Name: name, Ratio: ratioOf(a, b), atLeast: atLeast, atMost: atMost}
		if len(c.Ratio.Runs) == 0 {
			return
		}
		reached := true
		switch {
		case atLeast > 0:
			c.Target, reached = fmt.Sprintf("≥ %g", atLeast), c.Ratio.Median >= atLeast
		case atMost > 0:
			c.Target, reached = fmt.Sprintf("≤ %g", atMost), c.Ratio.Median <= atMost
		default:
			all = append(all, c)
			return
		}
		c.Reached = &reached
		all = append(all, c)
	}
	ours := f.runs[kindOurs.name]
	stock, slow, river, tuned, floor := f.runs[kindStock.name], f.runs[kindStockSlow.name], f.runs[kindRiver.name], f.runs[kindRiverTuned.name], f.runs["floor"]
	for _, clients := range []int{1, 8, 32} {
		name, target := publishName(clients), 1.0
		if clients == 1 {
			target = 0
		}
		add(name+": ours / stock", ours[name], stock[name], target, 0)
		add(name+": ours / river", ours[name], river[name], 0, 0)
		add(name+": ours / floor, 4 round trips", ours[name], floor[name+", 4 round trips"], 0, 0)
	}
	add(handledName+": ours / stock 10 ms", ours[handledName], stock[handledName], 5, 0)
	add(handledName+": ours / stock 1 s", ours[handledName], slow[handledName], 5, 0)
	add(handledName+": ours / river", ours[handledName], river[handledName], 0, 0)
	add(handledName+": ours / river tuned", ours[handledName], tuned[handledName], 3, 0)
	for _, clients := range []int{8, 32} {
		add(fmt.Sprintf("%s: ours / floor, one statement, %d clients", handledName, clients), ours[handledName], floor[floorName(clients)], 0.9, 0)
	}
	// Neighbours take processors away, but not processor time: on a busy machine
	// these mean more than the rates.
	add(cpuName+": stock 10 ms / ours", stock[cpuName], ours[cpuName], 0, 0)
	add(cpuName+": river tuned / ours", tuned[cpuName], ours[cpuName], 0, 0)
	add(cpuName+": floor, one statement, 8 clients / ours", floor[cpuName], ours[cpuName], 0, 0)
	add("1 % fail once / none fails, ours", ours[failingName], ours[plainName], 0.9, 0)
	add(cpuName+": none fails / 1 % fail once, ours", ours[cpuName+", "+plainName], ours[cpuName+", "+failingName], 0, 0)
	add(hotName+": ours / stock 10 ms", ours[hotName], stock[hotName], 1, 0)
	add(hotName+": ours / ours, runs of one", ours[hotName], f.runs[kindOursAlone.name][hotName], 1, 0)
	add(hotName+": ours / river tuned", ours[hotName], tuned[hotName], 0, 0)
	add(hotName+": ours / floor", ours[hotName], floor[hotName+", one statement, one group, 3 clients"], 0, 0)
	for _, n := range []int{2, 4} {
		add(fmt.Sprintf("%s / 1, ours", processesName(n)), ours[processesName(n)], ours[processesName(1)], 0.8*float64(n), 0)
	}
	add(payName+": ours / stock 10 ms", ours[payName], stock[payName], 1.5, 0)
	for _, side := range []string{"server", "process with its gateway"} {
		add(payCPU+side+": stock 10 ms / ours", stock[payCPU+side], ours[payCPU+side], 0, 0)
	}
	for _, rate := range []int{100, 500, 1000} {
		for _, p := range []string{"p50", "p99"} {
			name := fmt.Sprintf("latency ms at %d/s, %s", rate, p)
			add(name+": ours / stock 10 ms", ours[name], stock[name], 0, 0)
			add(name+": ours / river tuned", ours[name], tuned[name], 0, 0)
		}
	}
	for _, what := range []string{"beside an idle writing transaction", "the third is blocked"} {
		for _, p := range []string{steadyP99, "p99"} {
			target := 1.2
			if p == "p99" {
				target = 0 // shown, but a burst of the machine in one phase is enough to decide it
			}
			add(fmt.Sprintf("%s %s / undisturbed, ours", p, what), ours[besideName+what+", "+p], ours[besideName+"undisturbed, "+p], 0, target)
		}
	}
	addKafka(add, ours, stock, slow)
	add("backlog of 1,000,000 / 100,000, ours", ours["handled/s, backlog of 1000000"], ours["handled/s, backlog of 100000"], 0.8, 0)
	add("backlog of 1,000,000 / 100,000, ours, peak heap MB", ours["peak heap MB, backlog of 1000000"], ours["peak heap MB, backlog of 100000"], 0, 1.5)
	return all
}

// addKafka adds the ratios of the measures on Kafka.
func addKafka(add func(name string, a, b []float64, atLeast, atMost float64), ours, stock, slow map[string][]float64) {
	add(relayName+": ours / stock", ours[relayName], slow[relayName], 20, 0)
	for _, p := range []string{"p50", "p99"} {
		name := kafkaLatencyName + "latency ms at 100/s, " + p
		add(name+": ours / stock 1 s", ours[name], slow[name], 0, 0)
		add(name+": ours / stock 10 ms", ours[name], stock[name], 0, 0)
	}
	for _, what := range []string{"", wholeName} {
		add(kafkaHandledName+what+": ours / ours on PostgreSQL", ours[kafkaHandledName+what], ours[besideHandledName+what], 0.6, 0)
		add(kafkaHandledName+what+": ours / stock 10 ms", ours[kafkaHandledName+what], stock[kafkaHandledName+what], 0, 0)
	}
	const perEffect = ", CPU µs per effect, client and server"
	add(kafkaHandledName+perEffect+": on PostgreSQL / ours", ours[besideHandledName+perEffect], ours[kafkaHandledName+perEffect], 0, 0)
	small, large := ours[kafkaBacklogName(100_000)], ours[kafkaBacklogName(1_000_000)]
	add("Kafka, backlog of 1,000,000 / 100,000, ours", large, small, 0.8, 0)
	add("Kafka, backlog of 1,000,000 / 100,000, ours"+wholeName, ours[kafkaBacklogName(1_000_000)+wholeName], ours[kafkaBacklogName(100_000)+wholeName], 0.8, 0)
	add("Kafka, backlog of 1,000,000 / 100,000, ours"+peakHeapName, ours[kafkaBacklogName(1_000_000)+peakHeapName], ours[kafkaBacklogName(100_000)+peakHeapName], 0, 1.5)
	add("Kafka, backlog of 1,000,000 / 100,000, ours"+peakLiveName, ours[kafkaBacklogName(1_000_000)+peakLiveName], ours[kafkaBacklogName(100_000)+peakLiveName], 0, 1.5)
	add("Kafka, backlog of 1,000,000 / 100,000, ours"+peakResidentName, ours[kafkaBacklogName(1_000_000)+peakResidentName], ours[kafkaBacklogName(100_000)+peakResidentName], 0, 1.5)
}

// limit is a target for a figure of ours.
type limit struct {
	measure string
	atMost  float64
}

var limits = []limit{
	{"latency ms at 100/s, p50", 3}, {"latency ms at 100/s, p99", 6},
	{"latency ms at 500/s, p50", 3}, {"latency ms at 500/s, p99", 10},
	{"latency ms at 1000/s, p50", 10},
	{"latency ms at 100/s, p99.9", 100}, {"latency ms at 500/s, p99.9", 1000}, // the fall-back poll, each 5 s, is never seen
	{callbackName + "p99", 50},
	{kafkaLatencyName + "latency ms at 100/s, p50", 5}, {kafkaLatencyName + "latency ms at 100/s, p99", 20},
	{"idle, transaction ids/s", 1}, {"idle, CPU % of one core, with the server", 1},
}

var columns = []string{kindOurs.name, kindStock.name, kindStockSlow.name, kindRiver.name, kindRiverTuned.name, "floor"}

// report writes the figures as Markdown.
func report(out io.Writer, f *findings, version, loadBefore string) {
	fmt.Fprintf(out, "PostgreSQL %s, fsync on; %d cores, shared by client and server; load average before %s, after %s\n\n", version, runtime.NumCPU(), loadBefore, load())
	fmt.Fprintf(out, "| median (min–max) | %s |\n|%s\n", strings.Join(columns, " | "), strings.Repeat(" --- |", len(columns)+1))
	for _, m := range f.order {
		fmt.Fprintf(out, "| %s |", m)
		for _, c := range columns {
			fmt.Fprintf(out, " %s |", f.of(c, m))
		}
		fmt.Fprintln(out)
	}
	if all := comparisons(f); len(all) > 0 {
		fmt.Fprint(out, "\n| ratio, round by round | median (min–max) | target | |\n| --- | --- | --- | --- |\n")
		for _, c := range all {
			fmt.Fprintf(out, "| %s | %s | %s | %s |\n", c.Name, c.Ratio, c.Target, verdict(c.Reached))
		}
	}
	fmt.Fprint(out, "\n| figure of ours | median (min–max) | target | |\n| --- | --- | --- | --- |\n")
	for _, l := range limits {
		if found := f.of(kindOurs.name, l.measure); len(found.Runs) > 0 {
			reached := found.Median <= l.atMost
			fmt.Fprintf(out, "| %s | %s | ≤ %g | %s |\n", l.measure, found, l.atMost, verdict(&reached))
		}
	}
	for _, n := range f.notes {
		fmt.Fprintf(out, "\n%s.\n", n)
	}
}

func verdict(reached *bool) string {
	switch {
	case reached == nil:
		return ""
	case *reached:
		return "reached"
	}
	return "not reached"
}

func (f figure) String() string {
	if len(f.Runs) == 0 {
		return ""
	}
	if len(f.Runs) == 1 {
		return short(f.Median)
	}
	return fmt.Sprintf("%s (%s–%s)", short(f.Median), short(f.Min), short(f.Max))
}

// short shows three digits or so.
func short(v float64) string {
	switch {
	case math.Abs(v) >= 100:
		return fmt.Sprintf("%.0f", v)
	case math.Abs(v) >= 10:
		return fmt.Sprintf("%.1f", v)
	}
	return fmt.Sprintf("%.2f", v)
}

// load is the machine's load average on Linux over 1, 5 and 15 minutes: whether
// others were at work.
func load() string {
	text, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return "unknown"
	}
	return strings.Join(strings.Fields(string(text))[:3], " ")
}

// summary is the object that --json ends with.
func summary(f *findings) map[string]any {
	figures := func(contender string) map[string]figure {
		all := map[string]figure{}
		for m := range f.runs[contender] {
			all[m] = f.of(contender, m)
		}
		return all
	}
	ratios := map[string]any{}
	for _, c := range comparisons(f) {
		ratios[c.Name] = c
	}
	return map[string]any{
		"ours":   figures(kindOurs.name),
		"stock":  map[string]any{"poll 10 ms": figures(kindStock.name), "poll 1 s": figures(kindStockSlow.name)},
		"river":  map[string]any{"default": figures(kindRiver.name), "tuned": figures(kindRiverTuned.name)},
		"floor":  figures("floor"),
		"ratios": ratios,
		"notes":  f.notes,
	}
}
