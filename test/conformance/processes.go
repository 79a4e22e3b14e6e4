package conformance

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"millrace/platform/bus"
)

// childVariable passes the URL of the world's database to a child process.
const childVariable = "MILLRACE_CONFORMANCE_CHILD"

// Child runs the test binary as a process of the suite and does not return, if the
// suite has started it; otherwise it does nothing. Call it first in TestMain.
func Child(world Factory) {
	url := os.Getenv(childVariable)
	if url == "" {
		return
	}
	if err := child(world(url)); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(0)
}

// busy returns the modules of the processes that are killed: for each message,
// store writes an effect and publishes an event. The handler of the key "stuck"
// calls entered inside its transaction and then waits for goOn.
func busy(entered func(), goOn <-chan struct{}) []bus.Module {
	handler := func(ctx context.Context, tx *bus.Tx, m paid) error {
		if err := note(ctx, tx, m); err != nil {
			return err
		}
		if m.Order == "stuck" && m.N == 0 && entered != nil {
			entered()
			<-goOn
		}
		return tx.Publish(packed{m.Order, m.N})
	}
	return []bus.Module{shop(), part{name: "store", publishes: []bus.Event{packed{}}, subscribes: []bus.Subscription{bus.On(handler)}}}
}

// child hosts store until its standard input ends. The line "go" releases the
// handler of "stuck".
func child(world World) error {
	goOn := make(chan struct{})
	topo, err := bus.NewTopology(busy(func() { fmt.Println("inside") }, goOn)...)
	if err != nil {
		return err
	}
	p, err := world.Open(context.Background(), topo, []string{"store"}, Options{Poll: time.Minute})
	if err != nil {
		return err
	}
	router, err := newRouter(topo, []string{"store"}, p)
	if err != nil {
		return err
	}
	go func() {
		<-router.Running()
		fmt.Println("running")
		lines := bufio.NewScanner(os.Stdin)
		for lines.Scan() {
			close(goOn)
		}
		os.Exit(0) // the test has ended or was killed
	}()
	return router.Run(context.Background())
}

// offspring is a child process, seen from its parent.
type offspring struct {
	t     *testing.T
	cmd   *exec.Cmd
	stdin io.WriteCloser
	lines chan string // of its standard output
}

func (b *bench) spawn() *offspring {
	b.t.Helper()
	binary, err := os.Executable()
	require.NoError(b.t, err)
	o := &offspring{t: b.t, cmd: exec.Command(binary, "-test.run=^$"), lines: make(chan string, 1000)}
	o.cmd.Env = append(os.Environ(), childVariable+"="+b.url)
	o.cmd.Stderr = os.Stderr
	o.stdin, err = o.cmd.StdinPipe()
	require.NoError(b.t, err)
	stdout, err := o.cmd.StdoutPipe()
	require.NoError(b.t, err)
	require.NoError(b.t, o.cmd.Start())
	go func() {
		lines := bufio.NewScanner(stdout)
		for lines.Scan() {
			o.lines <- lines.Text()
		}
		close(o.lines)
	}()
	b.t.Cleanup(o.kill)
	o.expect("running")
	return o
}

// expect reads one line of the child's output and requires it to be want.
func (o *offspring) expect(want string) {
	o.t.Helper()
	require.Equal(o.t, want, await(o.t, "the child to be "+want, o.lines))
}

func (o *offspring) kill() {
	if o.cmd.ProcessState == nil {
		_ = o.cmd.Process.Kill() // it may have ended already
		for range o.lines {      // Wait closes the pipe: read it first
		}
		_ = o.cmd.Wait() // the error is the kill
	}
}

func (o *offspring) signal(s syscall.Signal) {
	o.t.Helper()
	require.NoError(o.t, o.cmd.Process.Signal(s))
}

// everythingOnce checks that store has exactly one effect, one event and one inbox
// row for each message of shop, in order per key.
func (b *bench) everythingOnce() {
	b.t.Helper()
	require.Equal(b.t, "0", b.text(`SELECT count(*) FROM shop.log l FULL JOIN store.effects e ON e.message = l.id WHERE e.message IS NULL OR l.id IS NULL`), "lost")
	require.Equal(b.t, "0", b.text(`SELECT count(*) - count(DISTINCT message) FROM store.effects`), "doubled")
	require.Equal(b.t, "0", b.text(`SELECT count(*) FROM store.effects e FULL JOIN store.log l ON l.metadata->>'causationid' = e.message::text WHERE l.id IS NULL OR e.message IS NULL`), "effect without its event")
	require.Equal(b.t, "0", b.text(`SELECT count(*) - count(DISTINCT metadata->>'causationid') FROM store.log`), "event doubled")
	require.Equal(b.t, "0", b.text(`SELECT count(*) FROM store.inbox i FULL JOIN store.effects e ON e.message = i.message_id WHERE e.message IS NULL OR i.message_id IS NULL`), "S3")
	require.Equal(b.t, "0", b.text(`SELECT count(*) FROM (SELECT l."offset" - lag(l."offset") OVER (PARTITION BY l.partition, l.key ORDER BY e.at) AS step FROM store.effects e JOIN shop.log l ON l.id = e.message) AS s WHERE step <= 0`), "order per key")
}

func killed(t *testing.T, b *bench) {
	const messages, kills = 600, 8
	topo := b.prepare(busy(nil, nil)...)
	b.exec(`CREATE FUNCTION store.linger() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN PERFORM pg_sleep(0.002); RETURN NEW; END'`)
	b.exec(`CREATE TRIGGER linger AFTER INSERT ON store.effects FOR EACH ROW EXECUTE FUNCTION store.linger()`)
	p := b.host(Options{}, topo, []string{"shop"})
	p.publish(batch(40, messages/40)...)
	for kill := range kills {
		o := b.spawn()
		// Kill at a random point of the next sixteenth of the work, whatever the batches are doing then.
		goal := kill*messages/(2*kills) + rand.IntN(messages/(2*kills))
		b.becomes("true", `SELECT count(*) >= $1 FROM store.effects`, goal)
		o.kill()
	}
	b.spawn()
	b.becomes(itoa(messages), `SELECT count(*) FROM store.inbox`)
	b.everythingOnce()
	b.neverParked()
}

// failover returns a test that a survivor takes over in five seconds from a process
// that gets the signal. It needs one success in five tries, since other programs
// use the machine, and subtracts the time of the work itself.
func failover(end syscall.Signal) func(*testing.T, *bench) {
	return func(t *testing.T, b *bench) {
		var took []time.Duration
		for range 5 {
			took = append(took, failoverOnce(newBench(t, b.make), end))
			if took[len(took)-1] < 5*time.Second {
				return
			}
		}
		require.Fail(t, "never within five seconds", "%v", took)
	}
}

func failoverOnce(b *bench, end syscall.Signal) time.Duration {
	topo := b.prepare(busy(nil, nil)...)
	p := b.host(Options{}, topo, []string{"shop"})
	o := b.spawn()
	b.becomes("64", `SELECT count(node) FROM `+eventOffsets+``)
	p.publish(paid{Order: "stuck"})
	o.expect("inside") // its transaction holds locks on its offset, its inbox row and its effect
	survivor := b.host(Options{}, topo, []string{"store"})
	p.publish(append(batch(200, 1), paid{Order: "stuck", N: 1})...) // reaches every partition
	ended := time.Now()
	o.signal(end)
	b.becomes("202", `SELECT count(*) FROM store.effects`)
	took := time.Since(ended)
	again := time.Now()
	p.publish(batch(200, 1)...) // the same work without a failover, to measure what this machine needs for it
	b.becomes("402", `SELECT count(*) FROM store.effects`)
	took -= time.Since(again)
	b.everythingOnce()
	b.neverParked()
	survivor.stop()
	o.kill() // if it was only stopped
	return took
}

func stopped(t *testing.T, b *bench) {
	topo := b.prepare(busy(nil, nil)...)
	p := b.host(Options{}, topo, []string{"shop"})
	o := b.spawn()
	b.becomes("64", `SELECT count(node) FROM `+eventOffsets+``)
	p.publish(paid{Order: "stuck"})
	o.expect("inside")
	o.signal(syscall.SIGSTOP)
	b.host(Options{}, topo, []string{"store"})
	p.publish(batch(200, 1)...)
	b.becomes("201", `SELECT count(*) FROM store.effects`)
	b.becomes("64", `SELECT max(n) FROM (SELECT count(*) AS n FROM `+eventOffsets+` GROUP BY node) AS owners`)
	// The stalled process resumes inside its transaction, as if it still had its partitions.
	_, err := io.WriteString(o.stdin, "go\n")
	require.NoError(t, err)
	o.signal(syscall.SIGCONT)
	b.becomes("32,32", `SELECT string_agg(n::text, ',') FROM (SELECT count(*) AS n FROM `+eventOffsets+` GROUP BY node) AS owners`)
	for n := range 5 {
		p.publish(batch(200, 1)...)
		b.becomes(itoa(201+200*(n+1)), `SELECT count(*) FROM store.effects`)
	}
	b.everythingOnce()
	b.neverParked()
}

func shared(t *testing.T, b *bench) {
	topo := b.prepare(busy(nil, nil)...)
	owners := `SELECT string_agg(n::text, ',' ORDER BY n) FROM (SELECT count(*) AS n FROM ` + eventOffsets + ` GROUP BY node) AS owners`
	first := b.host(Options{}, topo, topo.Modules())
	b.becomes("64", owners)
	second := b.host(Options{}, topo, topo.Modules())
	b.becomes("32,32", owners)
	second.publish(batch(200, 1)...)
	b.becomes("200", `SELECT count(*) FROM store.effects`)
	third := b.host(Options{}, topo, topo.Modules())
	b.becomes("20,22,22", owners)
	first.stop()
	b.becomes("32,32", owners)
	third.publish(batch(200, 1)...)
	second.stop()
	b.becomes("64", owners)
	b.becomes("400", `SELECT count(*) FROM store.effects`)
	b.everythingOnce()
	b.neverParked()
}

func twoVersions(t *testing.T, b *bench) {
	older := b.start(Options{}, shop(), store(bus.On(note)))
	b.becomes("64", `SELECT count(node) FROM `+eventOffsets+``)
	// The newer version subscribes to the events of another module, too.
	till := part{name: "till", publishes: []bus.Event{rung{}}}
	newer := b.start(Options{}, shop(), till, store(bus.On(note), bus.On(func(ctx context.Context, tx *bus.Tx, r rung) error {
		return effect(ctx, tx, r.Order, 0)
	})))
	b.becomes("shop.events 32,32; till.events 64", `SELECT string_agg(topic || ' ' || ns, '; ' ORDER BY topic) FROM (
		SELECT topic, string_agg(n::text, ',') AS ns FROM (SELECT topic, count(*) AS n FROM `+eventOffsets+` GROUP BY topic, node) AS o GROUP BY topic) AS t`)
	for k := range 100 {
		newer.publish(rung{"order-" + itoa(k)})
	}
	older.publish(batch(100, 1)...)
	b.becomes("200", `SELECT count(*) FROM store.effects`)
	b.neverParked()
}

type rung struct {
	Order string `json:"order"`
}

func (rung) EventName() string { return "till.rung" }
func (r rung) Key() string     { return r.Order }

func connectionsKilled(t *testing.T, b *bench) {
	const messages = 400
	p := b.start(Options{}, busy(nil, nil)...)
	kill := func() string {
		return b.text(`SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE datname = current_database() AND application_name LIKE 'millrace%'`)
	}
	tries := 0
	for n := range messages {
		for { // retry after an error, as a client does
			err := p.DB("shop").InTx(t.Context(), func(tx *bus.Tx) error { return tx.Publish(paid{Order: "order-" + itoa(n%20), N: n}) })
			tries++
			if err == nil {
				break
			}
			require.Less(t, tries, 3*messages, "%v", err)
		}
		if n%25 == 24 {
			require.NotEqual(t, "0", kill())
		}
	}
	b.becomes("0", `SELECT count(*) - (SELECT count(*) FROM store.inbox) FROM shop.log`)
	require.GreaterOrEqual(t, b.text(`SELECT count(*) FROM shop.log`), itoa(messages))
	b.everythingOnce()
	b.neverParked()
	require.False(t, strings.Contains(b.parkedList(), "dead"))
}
