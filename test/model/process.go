package model

import (
	"bufio"
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"time"

	"github.com/ThreeDotsLabs/watermill"
	"github.com/ThreeDotsLabs/watermill/message"

	"millrace/platform/bus"
	"millrace/platform/postgres"
	"millrace/test/conformance"
)

// options make retries and failover fast. Three waits allow four attempts: more
// failures than any message has, except those that always fail.
var options = conformance.Options{
	Backoff: []time.Duration{5 * time.Millisecond, 10 * time.Millisecond, 20 * time.Millisecond},
	Poll:    time.Second, LeaseTTL: lease,
}

const lease = time.Second // a shorter lease would expire by itself on a busy machine

// process is a process of the program: either inside the test's process, connected
// through its own line, or a real operating-system process.
type process struct {
	version version
	// Inside the test's process:
	line   *line
	opened conformance.Process
	router *message.Router
	done   chan error
	// A real process:
	cmd   *exec.Cmd
	stdin io.Closer
}

// open starts a process inside the test's process. Its line can be cut.
func (r *runner) open(v version, hosted []string) *process {
	l, err := newLine(r.url)
	r.must(err)
	topo, err := v.topology(r.sql)
	r.must(err)
	p := &process{version: v, line: l, done: make(chan error, 1)}
	p.opened, p.router, err = host(r.world(l.url), topo, hosted)
	r.must(err)
	go func() { p.done <- p.router.Run(context.Background()) }()
	select {
	case <-p.router.Running():
	case err := <-p.done:
		r.must(err)
	}
	return p
}

func host(world conformance.World, topo *bus.Topology, hosted []string) (conformance.Process, *message.Router, error) {
	opened, err := world.Open(context.Background(), topo, hosted, options)
	if err != nil {
		return nil, nil, err
	}
	router, err := bus.NewRouter(topo, hosted, opened.Subscriber, slog.New(slog.DiscardHandler), watermill.NopLogger{})
	return opened, router, err
}

// end shuts the process down.
func (r *runner) end(p *process) {
	if p.cmd != nil {
		r.kill(p)
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	r.must(p.opened.Drain(ctx))
	r.must(p.router.Close())
	r.must(<-p.done)
	r.must(p.opened.Close())
	r.must(p.line.cut())
}

// kill ends the process as a crash does. If it runs inside the test's process, its
// line is cut, so that it cannot reach the database any more, and its goroutines
// end in the background.
func (r *runner) kill(p *process) {
	if p.cmd != nil {
		_ = p.cmd.Process.Kill() // it may have ended already
		_ = p.cmd.Wait()         // the error is the kill
		_ = p.stdin.Close()
		return
	}
	r.must(p.line.cut())
	r.remains.Go(func() {
		_ = p.opened.Close() // fails: its connections are cut
		_ = p.router.Close()
		if err := <-p.done; err != nil {
			r.t.Logf("a process that was lost: %v", err)
		}
	})
}

// childVariable passes an assignment to a real process.
const childVariable = "MILLRACE_MODEL_CHILD"

// assignment is what a real process hosts, and where.
type assignment struct {
	URL     string
	Version version
}

// Child runs the test binary as a process of a program and does not return, if
// spawn has started it; otherwise it does nothing. Call it first in TestMain.
func Child(world conformance.Factory) {
	text := os.Getenv(childVariable)
	if text == "" {
		return
	}
	if err := child(world, text); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(0)
}

func child(world conformance.Factory, text string) error {
	var a assignment
	if err := json.Unmarshal([]byte(text), &a); err != nil {
		return err
	}
	plan, err := openPlan(context.Background(), a.URL)
	if err != nil {
		return err
	}
	topo, err := a.Version.topology(plan)
	if err != nil {
		return err
	}
	_, router, err := host(world(a.URL), topo, a.Version.hosts())
	if err != nil {
		return err
	}
	go func() {
		<-router.Running()
		fmt.Println("running")
		_, _ = io.Copy(io.Discard, os.Stdin)
		os.Exit(0) // the test has ended or was killed
	}()
	return router.Run(context.Background())
}

func openPlan(ctx context.Context, url string) (*sql.DB, error) {
	return postgres.Open(ctx, postgres.Config{URL: url, MaxConns: 6, Application: "model"})
}

// spawn starts a real process.
func (r *runner) spawn(v version) *process {
	binary, err := os.Executable()
	r.must(err)
	text, err := json.Marshal(assignment{r.url, v})
	r.must(err)
	p := &process{version: v, cmd: exec.Command(binary, "-test.run=^$")}
	p.cmd.Env = append(os.Environ(), childVariable+"="+string(text))
	p.cmd.Stderr = os.Stderr
	p.stdin, err = p.cmd.StdinPipe()
	r.must(err)
	out, err := p.cmd.StdoutPipe()
	r.must(err)
	r.must(p.cmd.Start())
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil || line != "running\n" {
		r.t.Fatalf("the child printed %q: %v", line, err)
	}
	return p
}
