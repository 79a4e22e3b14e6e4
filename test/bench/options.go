package main

import (
	"flag"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"
)

// options are the command's.
type options struct {
	quick, json, million, statements, ours bool
	only                                   []string
	cpuprofile                             string
	rounds                                 int
}

func parse(args []string, output io.Writer) (options, error) {
	var o options
	var only string
	flags := flag.NewFlagSet("bench", flag.ContinueOnError)
	flags.SetOutput(output)
	flags.BoolVar(&o.quick, "quick", false, "everything in less than 2 minutes")
	flags.BoolVar(&o.json, "json", false, "end with one JSON object on a line of its own")
	flags.BoolVar(&o.million, "million", false, "drain a backlog of 1,000,000 too")
	flags.BoolVar(&o.statements, "statements", false, "show pg_stat_statements of ours in the measure handled (costs a few per cent)")
	flags.BoolVar(&o.ours, "ours", false, "nothing but ours: no ratios, but quick")
	flags.StringVar(&only, "only", "", "measures, comma-separated: "+strings.Join(measureNames(), ", "))
	flags.StringVar(&o.cpuprofile, "cpuprofile", "", "write a CPU profile of ours in the measure handled")
	flags.IntVar(&o.rounds, "rounds", 0, "alternating rounds of each measure (default 5, quick 2)")
	if err := flags.Parse(args); err != nil {
		return o, err
	}
	if flags.NArg() > 0 {
		return o, fmt.Errorf("unknown argument %q", flags.Arg(0))
	}
	if o.rounds < 0 {
		return o, fmt.Errorf("--rounds %d: at least 1", o.rounds)
	}
	for _, name := range strings.FieldsFunc(only, func(c rune) bool { return c == ',' || c == ' ' }) {
		switch {
		case slices.Contains(measureNames(), name):
			o.only = append(o.only, name)
		case name == "kafka":
			for _, known := range measureNames() {
				if strings.HasPrefix(known, "kafka-") {
					o.only = append(o.only, known)
				}
			}
		default:
			return o, fmt.Errorf("--only %s: the measures are %s; kafka is all of its own", name, strings.Join(measureNames(), ", "))
		}
	}
	return o, nil
}

// scale is how much is measured.
type scale struct {
	rounds       int
	publishFor   time.Duration
	floorSeconds int
	handleLimit  time.Duration
	backlog      float64 // of what each contender gets in a full run
	rateFor      time.Duration
	idleFor      time.Duration
	blockedFor   time.Duration
	besideFor    time.Duration // undisturbed, twice; and twice that beside an idle writer
	drain        int
	jobsEach     int           // of each process on one queue
	payFor       time.Duration // from callback to last effect
	slowPeers    bool          // each rate also for those that do not hold it
	kafkaRounds  int
	relayRows    int    // of ours; stock gets a sixteenth
	kafkaDrain   [2]int // backlogs; 0 is none
}

func (o options) scale() scale {
	s := scale{rounds: 5, publishFor: 3 * time.Second, floorSeconds: 3, handleLimit: 12 * time.Second, backlog: 1,
		rateFor: 8 * time.Second, idleFor: 20 * time.Second, blockedFor: 60 * time.Second, besideFor: 15 * time.Second, drain: 100_000,
		jobsEach: 3000, payFor: 10 * time.Second, slowPeers: true, kafkaRounds: 5, relayRows: 200_000, kafkaDrain: [2]int{100_000}}
	if o.quick {
		s = scale{rounds: 2, publishFor: 500 * time.Millisecond, floorSeconds: 1, handleLimit: 1500 * time.Millisecond, backlog: 0.25,
			rateFor: 1200 * time.Millisecond, idleFor: 2 * time.Second, blockedFor: 2 * time.Second, besideFor: time.Second, jobsEach: 600, payFor: 2 * time.Second,
			kafkaRounds: 1, relayRows: 24_000, kafkaDrain: [2]int{5_000}}
	}
	if o.million {
		s.kafkaDrain = [2]int{100_000, 1_000_000}
	}
	if o.rounds > 0 {
		s.rounds, s.kafkaRounds = o.rounds, o.rounds
	}
	return s
}
