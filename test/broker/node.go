package broker

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"
)

// stopWithin is how long a clean shutdown may take; it takes 0.3 s.
const stopWithin = 10 * time.Second

// node is one broker. Its folder holds server.properties, data, tmp, log and,
// while it runs, pid.
type node struct {
	index int // its id is one more
	dir   string
	home  *home

	mu     sync.Mutex // one fault at a time
	run    *process   // nil before the first start
	frozen bool
}

// process is one run of a broker, or of one of Kafka's tools.
type process struct {
	cmd  *exec.Cmd
	done chan struct{} // closed when it has ended with all its threads
}

func (p *process) running() bool {
	select {
	case <-p.done:
		return false
	default:
		return true
	}
}

// options of the JVM: a small one, whose short life is not spent on compiling.
// It leaves nothing in the system's folder for temporary files.
func (h *home) options(tmp string, more ...string) []string {
	return append([]string{
		"-Xms128m", "-Xmx512m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-XX:-UsePerfData", "-Xshare:auto", "-Xlog:disable", "-Xlog:all=error:stderr",
		"-Djava.awt.headless=true", "-Djava.io.tmpdir=" + tmp, "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn", "-Dorg.slf4j.simpleLogger.showDateTime=true",
		"-Dorg.slf4j.simpleLogger.dateTimeFormat=HH:mm:ss.SSS",
	}, more...)
}

// start runs the broker without waiting until it serves.
func (n *node) start(jvm ...string) error {
	tmp := filepath.Join(n.dir, "tmp")
	if err := os.MkdirAll(tmp, 0o700); err != nil {
		return err
	}
	out, err := os.OpenFile(n.log(), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	defer out.Close() //nolint:errcheck // the broker has its own
	if len(jvm) == 0 {
		jvm = []string{"-XX:SharedArchiveFile=" + n.home.archive} // without it Java goes without a word
	}
	args := append(n.home.options(tmp, jvm...), "-cp", n.home.classpath, "kafka.Kafka", filepath.Join(n.dir, "server.properties"))
	cmd := exec.Command(n.home.java, args...)
	cmd.Dir, cmd.Stdout, cmd.Stderr = n.dir, out, out
	cmd.Env = withoutJavaOptions(os.Environ())
	if err := startChild(cmd); err != nil {
		return err
	}
	run := &process{cmd: cmd, done: make(chan struct{})}
	n.run, n.frozen = run, false
	err = os.WriteFile(n.pid(), []byte(strconv.Itoa(cmd.Process.Pid)), 0o600) // for the watchdog
	go func() {
		_ = cmd.Wait() // how it ended stands in its log; this returns when the last thread is gone
		close(run.done)
	}()
	return err
}

// withoutJavaOptions: they would print a line, and change what was measured.
func withoutJavaOptions(environment []string) (kept []string) {
	for _, one := range environment {
		if !strings.HasPrefix(one, "JAVA_TOOL_OPTIONS=") && !strings.HasPrefix(one, "_JAVA_OPTIONS=") && !strings.HasPrefix(one, "JDK_JAVA_OPTIONS=") {
			kept = append(kept, one)
		}
	}
	return kept
}

func (n *node) log() string { return filepath.Join(n.dir, "log") }
func (n *node) pid() string { return filepath.Join(n.dir, "pid") }

func (n *node) running() bool { return n.run != nil && n.run.running() }

// stop asks it to shut down; it is killed if it does not.
func (n *node) stop(within time.Duration) error {
	if !n.running() {
		return nil
	}
	if n.frozen {
		if err := n.thaw(); err != nil {
			return err
		}
	}
	if err := terminate(n.run.cmd.Process); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	select {
	case <-n.run.done:
		return os.Remove(n.pid())
	case <-time.After(within):
		return errors.Join(fmt.Errorf("broker %d did not shut down within %s and was killed", n.index, within), n.kill())
	}
}

// kill returns when the process and its port are gone: the kernel takes a
// second or two to give back the memory, and until then the port still answers.
func (n *node) kill() error {
	if !n.running() {
		return nil
	}
	if err := n.run.cmd.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	<-n.run.done
	n.frozen = false
	return os.Remove(n.pid())
}

func (n *node) freeze() error {
	if !n.running() {
		return fmt.Errorf("broker %d does not run", n.index)
	}
	ctx, cancel := context.WithTimeout(context.Background(), stopWithin)
	defer cancel()
	n.frozen = true
	return freeze(ctx, n.run.cmd.Process)
}

func (n *node) thaw() error {
	if !n.running() {
		return fmt.Errorf("broker %d does not run", n.index)
	}
	n.frozen = false
	return thaw(n.run.cmd.Process)
}

// tool runs one of Kafka's tools to its end.
func (h *home) tool(ctx context.Context, dir, class string, args ...string) error {
	all := append(h.options(dir, "-XX:SharedArchiveFile="+h.archive), "-cp", h.classpath, class)
	cmd := exec.CommandContext(ctx, h.java, append(all, args...)...)
	cmd.Dir, cmd.Env = dir, withoutJavaOptions(os.Environ())
	if said, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w\n%s", class, err, tail(said, 30))
	}
	return nil
}
