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

// childVariable holds the URL of the world in which a child process works.
const childVariable = "MILLRACE_CONFORMANCE_CHILD"

// Child runs the test binary as another process of the suite, if that is what
// it was started for; it does not return then. Call it first in TestMain.
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

// busy is the store of the processes that are killed: an effect and an event
// for each message. entered is told when the handler of "stuck" is inside its
// transaction, which it does not leave before goOn.
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
	return []bus.Module{shop(), part{name: "store", publishes: []bus.Event{packed{}}, hears: []bus.Subscription{bus.On(handler)}}}
}

// child hosts the store until its standard input ends. The line "go" lets a
// stuck handler go on.
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
		os.Exit(0) // the test is over, or gone
	}()
	return router.Run(context.Background())
}

// offspring is a child process as its parent sees it.
type offspring struct {
	t     *testing.T
	cmd   *exec.Cmd
	stdin io.WriteCloser
	says  chan string
}

func (b *bench) spawn() *offspring {
	b.t.Helper()
	binary, err := os.Executable()
	require.NoError(b.t, err)
	o := &offspring{t: b.t, cmd: exec.Command(binary, "-test.run=^$"), says: make(chan string, 1000)}
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
			o.says <- lines.Text()
		}
		close(o.says)
	}()
	b.t.Cleanup(o.kill)
	o.hear("running")
	return o
}

func (o *offspring) hear(want string) {
	o.t.Helper()
	require.Equal(o.t, want, await(o.t, "the child to be "+want, o.says))
}

func (o *offspring) kill() {
	if o.cmd.ProcessState == nil {
		_ = o.cmd.Process.Kill() // it may be gone already
		for range o.says {       // Wait closes the pipe: read it first
		}
		_ = o.cmd.Wait() // killed, as it says
	}
}

func (o *offspring) signal(s syscall.Signal) {
	o.t.Helper()
	require.NoError(o.t, o.cmd.Process.Signal(s))
}

// everythingOnce checks that each message of the shop had one effect at the
// store, and one event of it, and that no message was ever aside.
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
		// Somewhere in the next sixteenth of the work, wherever a run is then.
		goal := kill*messages/(2*kills) + rand.IntN(messages/(2*kills))
		b.becomes("true", `SELECT count(*) >= $1 FROM store.effects`, goal)
		o.kill()
	}
	b.spawn()
	b.becomes(itoa(messages), `SELECT count(*) FROM store.inbox`)
	b.everythingOnce()
	b.neverAside()
}

// takeOver tries a few times: what else runs on the machine takes time too. The
// work itself, which a slow machine does slowly, is no part of the time.
func takeOver(end syscall.Signal) func(*testing.T, *bench) {
	return func(t *testing.T, b *bench) {
		var took []time.Duration
		for range 5 {
			took = append(took, takeOverOnce(newBench(t, b.make), end))
			if took[len(took)-1] < 5*time.Second {
				return
			}
		}
		require.Fail(t, "never within five seconds", "%v", took)
	}
}

func takeOverOnce(b *bench, end syscall.Signal) time.Duration {
	topo := b.prepare(busy(nil, nil)...)
	p := b.host(Options{}, topo, []string{"shop"})
	o := b.spawn()
	b.becomes("64", `SELECT count(owner) FROM `+hearing+``)
	p.publish(paid{Order: "stuck"})
	o.hear("inside") // its transaction holds its position, its inbox row and its effect
	survivor := b.host(Options{}, topo, []string{"store"})
	p.publish(append(batch(200, 1), paid{Order: "stuck", N: 1})...) // every partition
	ended := time.Now()
	o.signal(end)
	b.becomes("202", `SELECT count(*) FROM store.effects`)
	took := time.Since(ended)
	again := time.Now()
	p.publish(batch(200, 1)...) // the same without a take-over is what this machine needs now
	b.becomes("402", `SELECT count(*) FROM store.effects`)
	took -= time.Since(again)
	b.everythingOnce()
	b.neverAside()
	survivor.stop()
	o.kill() // if it has only stopped
	return took
}

func stopped(t *testing.T, b *bench) {
	topo := b.prepare(busy(nil, nil)...)
	p := b.host(Options{}, topo, []string{"shop"})
	o := b.spawn()
	b.becomes("64", `SELECT count(owner) FROM `+hearing+``)
	p.publish(paid{Order: "stuck"})
	o.hear("inside")
	o.signal(syscall.SIGSTOP)
	b.host(Options{}, topo, []string{"store"})
	p.publish(batch(200, 1)...)
	b.becomes("201", `SELECT count(*) FROM store.effects`)
	b.becomes("64", `SELECT max(n) FROM (SELECT count(*) AS n FROM `+hearing+` GROUP BY owner) AS owners`)
	// The late one goes on inside its transaction, believing that all is its own.
	_, err := io.WriteString(o.stdin, "go\n")
	require.NoError(t, err)
	o.signal(syscall.SIGCONT)
	b.becomes("32,32", `SELECT string_agg(n::text, ',') FROM (SELECT count(*) AS n FROM `+hearing+` GROUP BY owner) AS owners`)
	for n := range 5 {
		p.publish(batch(200, 1)...)
		b.becomes(itoa(201+200*(n+1)), `SELECT count(*) FROM store.effects`)
	}
	b.everythingOnce()
	b.neverAside()
}

func shared(t *testing.T, b *bench) {
	topo := b.prepare(busy(nil, nil)...)
	owners := `SELECT string_agg(n::text, ',' ORDER BY n) FROM (SELECT count(*) AS n FROM ` + hearing + ` GROUP BY owner) AS owners`
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
	b.neverAside()
}

func twoVersions(t *testing.T, b *bench) {
	old := b.start(Options{}, shop(), store(bus.On(note)))
	b.becomes("64", `SELECT count(owner) FROM `+hearing+``)
	// The new version hears another owner too.
	till := part{name: "till", publishes: []bus.Event{rung{}}}
	young := b.start(Options{}, shop(), till, store(bus.On(note), bus.On(func(ctx context.Context, tx *bus.Tx, r rung) error {
		return effect(ctx, tx, r.Order, 0)
	})))
	b.becomes("shop.events 32,32; till.events 64", `SELECT string_agg(topic || ' ' || ns, '; ' ORDER BY topic) FROM (
		SELECT topic, string_agg(n::text, ',') AS ns FROM (SELECT topic, count(*) AS n FROM `+hearing+` GROUP BY topic, owner) AS o GROUP BY topic) AS t`)
	for k := range 100 {
		young.publish(rung{"order-" + itoa(k)})
	}
	old.publish(batch(100, 1)...)
	b.becomes("200", `SELECT count(*) FROM store.effects`)
	b.neverAside()
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
	said := 0
	for n := range messages {
		for { // whoever says something and gets an error says it again
			err := p.DB("shop").InTx(t.Context(), func(tx *bus.Tx) error { return tx.Publish(paid{Order: "order-" + itoa(n%20), N: n}) })
			said++
			if err == nil {
				break
			}
			require.Less(t, said, 3*messages, "%v", err)
		}
		if n%25 == 24 {
			require.NotEqual(t, "0", kill())
		}
	}
	b.becomes("0", `SELECT count(*) - (SELECT count(*) FROM store.inbox) FROM shop.log`)
	require.GreaterOrEqual(t, b.text(`SELECT count(*) FROM shop.log`), itoa(messages))
	b.everythingOnce()
	b.neverAside()
	require.False(t, strings.Contains(b.asides(), "dead"))
}
