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

// stopWithin is how long a clean shutdown may take. It usually takes 0.3 s.
const stopWithin = 10 * time.Second

// node is one broker. Its folder holds server.properties, data, tmp, log and,
// while it runs, pid.
type node struct {
	index int // node.id is index+1
	dir   string
	home  *home

	mu     sync.Mutex // serializes faults
	run    *process   // nil before the first start
	frozen bool
}

// process is one run of a broker, or of one of Kafka's tools.
type process struct {
	cmd  *exec.Cmd
	done chan struct{} // closed when the process and all its threads have ended
}

func (p *process) running() bool {
	select {
	case <-p.done:
		return false
	default:
		return true
	}
}

// options returns the options of a small JVM that compiles little, since it runs for a
// short time, and uses tmp instead of the system's temporary folder.
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
	defer out.Close() //nolint:errcheck // the broker has its own descriptor
	if len(jvm) == 0 {
		jvm = []string{"-XX:SharedArchiveFile=" + n.home.archive} // Java ignores it if the file does not exist
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
		_ = cmd.Wait() // its log has the reason; Wait returns when the last thread has ended
		close(run.done)
	}()
	return err
}

// withoutJavaOptions removes variables with options for Java: Java prints a line for
// them, and they would change the brokers.
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

// stop shuts the broker down. It kills the broker and returns an error if that takes too long.
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

// kill kills the broker and waits until the process has ended. The kernel may need a
// second or two to free its memory, and until then its ports are still open.
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
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w\n%s", class, err, tail(out, 30))
	}
	return nil
}
