package parity

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"slices"
	"strings"
	"time"

	"millrace/cmd/millrace/demo"
	"millrace/cmd/millrace/terminal"
	"millrace/config"
	"millrace/platform/errs"
)

// Options are what to compare, and where to print.
type Options struct {
	Count   int      // number of orders; every five orders come with a consultation
	Seed    int64    // seed of the gateway's behaviour
	Brokers []string // brokers of a real Kafka; if empty, only the fake broker is compared
	Split   bool     // also compare with a process and a database for each module
	Version string
	Config  config.Config
	Out     *terminal.Printer
	Bar     io.Writer

	begin func(context.Context, demo.Scene) error // for tests: called before the first request of each run
}

// Result is the result of all comparisons, the last line of --json.
type Result struct {
	OK        bool   `json:"ok"`
	Identical int    `json:"identical"`
	Adapted   int    `json:"adapted"`
	Different int    `json:"different"`
	Binary    string `json:"binary"` // the binary's SHA-256
	Lines     []Line `json:"lines"`
}

// Run plays over each transport, and compares the first run with each of the others. The
// error is nil only if every difference has a reason.
func Run(ctx context.Context, o Options) (result Result, err error) {
	if result.Binary, err = checksum(); err != nil {
		return result, err
	}
	o.Out.Printf("one binary runs all of it, SHA-256 %s\n", result.Binary)
	first, err := o.play(ctx, course{name: "PostgreSQL", transport: config.Postgres})
	if err != nil {
		return result, err
	}
	for _, other := range o.others() {
		second, err := o.play(ctx, other)
		if err != nil {
			return result, err
		}
		result.Lines = append(result.Lines, match(first, second)...)
	}
	for _, l := range result.Lines {
		switch l.Verdict {
		case Identical:
			result.Identical++
		case Adapted:
			result.Adapted++
		default:
			result.Different++
		}
	}
	report(o.Out, result.Lines)
	if result.OK = result.Different == 0; !result.OK {
		return result, errs.New(errs.Unknown, "%d lines differ without a reason", result.Different)
	}
	return result, nil
}

// course is one way to run the demo.
type course struct {
	name      string // the name in the report
	transport string
	brokers   []string // if empty, a fake broker
	split     bool
}

// others are the courses to compare with the first.
func (o Options) others() []course {
	all := []course{{name: "the fake broker", transport: config.OnKafka}}
	if len(o.Brokers) > 0 {
		all = append(all, course{name: "Kafka at " + strings.Join(o.Brokers, ","), transport: config.OnKafka, brokers: o.Brokers})
	}
	if o.Split {
		last := all[len(all)-1]
		last.name, last.split = last.name+", a process and a database for each module", true
		all = append(all, last)
	}
	return all
}

// play runs the demo once, and returns its results.
func (o Options) play(ctx context.Context, c course) (left *observed, err error) {
	o.Out.Printf("\n== over %s\n", c.name)
	cfg := o.Config
	cfg.Transport, cfg.Kafka.Brokers = c.transport, c.brokers
	began := time.Now()
	var wire *listener
	_, err = demo.Run(ctx, demo.Options{
		Count: o.Count, Seed: o.Seed, Version: o.Version, Config: cfg, Out: o.Out, Bar: o.Bar, Calm: true, Split: c.split,
		Begin: func(ctx context.Context, scene demo.Scene) (err error) {
			if len(scene.Brokers) > 0 {
				if wire, err = listen(scene); err != nil {
					return err
				}
			}
			if o.begin != nil {
				return o.begin(ctx, scene)
			}
			return nil
		},
		End: func(ctx context.Context, scene demo.Scene) (err error) {
			if left, err = observe(ctx, c.name, scene, began); err != nil || wire == nil {
				return err
			}
			left.readWire(ctx, wire)
			wire = nil
			return nil
		},
	})
	if wire != nil {
		wire.close()
	}
	if err != nil {
		return nil, fmt.Errorf("over %s: %w", c.name, err)
	}
	return left, nil
}

// readWire replaces the databases' lines about the wire by the records in the topics.
func (o *observed) readWire(ctx context.Context, wire *listener) {
	expected := 0
	o.lines = slices.DeleteFunc(o.lines, func(l line) bool {
		is := strings.HasPrefix(l.name, "wire of ")
		if is {
			expected += len(l.rows)
		}
		return is
	})
	lines := map[string]*line{}
	for _, m := range wire.messages(ctx, expected) {
		o.names.spell(lines, m)
	}
	o.addWire(lines)
}

// match compares two runs line by line. A line that one run lacks counts as an empty one.
func match(one, other *observed) (all []Line) {
	there := map[string]line{}
	for _, l := range other.lines {
		there[l.name] = l
	}
	for _, l := range one.lines {
		second := there[l.name]
		delete(there, l.name)
		verdict, because := compare(l, second, adapted)
		all = append(all, Line{l.name, other.of, len(l.rows), verdict, because})
	}
	for _, name := range slices.Sorted(maps.Keys(there)) {
		verdict, because := compare(line{name: name}, there[name], adapted)
		all = append(all, Line{name, other.of, 0, verdict, because})
	}
	return all
}

// checksum is the SHA-256 of the running program; on Linux even if the file on the disk
// was replaced since the start.
func checksum() (string, error) {
	f, err := os.Open("/proc/self/exe")
	if errors.Is(err, fs.ErrNotExist) {
		var path string
		if path, err = os.Executable(); err == nil {
			f, err = os.Open(path)
		}
	}
	if err != nil {
		return "", err
	}
	defer f.Close()
	sum := sha256.New()
	if _, err := io.Copy(sum, f); err != nil {
		return "", err
	}
	return hex.EncodeToString(sum.Sum(nil)), nil
}

// report prints the lines as a table.
func report(out *terminal.Printer, lines []Line) {
	against, wide := "", 0
	for _, l := range lines {
		wide = max(wide, len(l.Name))
	}
	for _, l := range lines {
		if l.Against != against {
			against = l.Against
			out.Printf("\nPostgreSQL and %s:\n", against)
		}
		out.Printf("  %-9s  %-*s  %6d rows\n", l.Verdict, wide, l.Name, l.Rows)
		for _, why := range l.Because {
			out.Printf("             %s\n", why)
		}
	}
}
