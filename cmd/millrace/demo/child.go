package demo

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"time"

	"millrace/config"
	"millrace/platform/errs"
)

const (
	childReady = patience         // time limit of a start, including the wait for leases of a killed process
	childEnd   = 25 * time.Second // time limit of a shutdown
)

// child is `millrace serve` in a process of its own, which the demo kills.
type child struct {
	executable string
	name       string // the module that it hosts; "": all
	url        string
	environ    []string
	log        *os.File

	mu      sync.Mutex
	cmd     *exec.Cmd
	done    chan struct{} // closed when the process of cmd ended
	killing bool          // the demo is ending it
	ended   chan struct{} // closed when it ends by itself
	stop    sync.Once
	stopErr error
}

// serveChild starts the child at http.address, which stays the same after kills.
func serveChild(ctx context.Context, cfg config.Config, log *os.File) (*child, error) {
	executable, err := os.Executable()
	if err != nil {
		return nil, err
	}
	c := &child{executable: executable, url: "http://" + cfg.HTTP.Address, environ: environOf(cfg, os.Environ()), log: log, ended: make(chan struct{})}
	if err := c.start(); err != nil {
		return nil, err
	}
	if err := c.ready(ctx); err != nil {
		_ = c.Stop() // report the first error
		return nil, err
	}
	return c, nil
}

// environOf is the child's environment: ours, and a variable for every setting of
// cfg. The URLs in cfg already include libpq's variables.
func environOf(cfg config.Config, ours []string) []string {
	var environ []string
	for _, variable := range ours {
		if !strings.HasPrefix(variable, "MILLRACE_") && !strings.HasPrefix(variable, "DATABASE_URL=") && !strings.HasPrefix(variable, "PG") {
			environ = append(environ, variable)
		}
	}
	return append(environ, cfg.Environ()...)
}

// start starts the process from an OS thread that lives as long as the process: where
// the kernel kills a child when its parent dies, the parent is the thread.
func (c *child) start() error {
	cmd := exec.Command(c.executable, "serve")
	cmd.Env, cmd.Stdout, cmd.Stderr = c.environ, c.log, c.log
	cmd.SysProcAttr = withParent()
	done, started := make(chan struct{}), make(chan error)
	c.mu.Lock()
	defer c.mu.Unlock()
	go func() {
		runtime.LockOSThread() // never unlocked: the thread ends with this goroutine
		err := cmd.Start()
		started <- err
		if err != nil {
			return
		}
		_ = cmd.Wait() // Stop reads the process state
		close(done)
		c.mu.Lock()
		defer c.mu.Unlock()
		if c.cmd == cmd && !c.killing {
			close(c.ended)
		}
	}()
	if err := <-started; err != nil {
		return fmt.Errorf("start %s serve: %w", c.executable, err)
	}
	c.cmd, c.done, c.killing = cmd, done, false
	return nil
}

// ready waits until the program is ready.
func (c *child) ready(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, childReady)
	defer cancel()
	client := &http.Client{Timeout: 2 * time.Second}
	defer client.CloseIdleConnections()
	for {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, c.url+"/readyz", http.NoBody)
		if err != nil {
			return err
		}
		if res, err := client.Do(req); err == nil {
			_ = res.Body.Close() // only the status is used
			if res.StatusCode == http.StatusOK {
				return nil
			}
		}
		select {
		case <-c.ended:
			return errs.New(errs.Unknown, "the serving process ended before it was ready%s: see %s", c.complaint(), c.log.Name())
		default:
		}
		if err := pause(ctx, 20*time.Millisecond); err != nil {
			return errs.New(errs.Resource, "the serving process was not ready after %s: see %s", childReady, c.log.Name())
		}
	}
}

// complaint is the program's last error line in the log, after ": ", or "" if there is
// none. Processes that share a log share its last line.
func (c *child) complaint() string {
	const enough = 64 << 10
	log, err := os.Open(c.log.Name())
	if err != nil {
		return ""
	}
	defer log.Close()
	if end, err := log.Seek(0, io.SeekEnd); err == nil {
		_, _ = log.Seek(max(0, end-enough), io.SeekStart) // if this fails, the whole log is read
	}
	last := ""
	for lines := bufio.NewScanner(log); lines.Scan(); {
		if text, ok := strings.CutPrefix(lines.Text(), "millrace: "); ok {
			last = ": " + text
		}
	}
	return last
}

// kill kills the process with SIGKILL, and starts another at once.
func (c *child) kill() error {
	c.mu.Lock()
	c.killing = true
	process, done := c.cmd.Process, c.done
	c.mu.Unlock()
	if err := process.Kill(); err != nil {
		return fmt.Errorf("kill the serving process: %w", err)
	}
	<-done
	return c.start()
}

func (c *child) URL() string            { return c.url }
func (c *child) Ended() <-chan struct{} { return c.ended }

// Stop sends SIGTERM, and returns an error unless the process exits with code 0.
func (c *child) Stop() error {
	c.stop.Do(func() {
		c.mu.Lock()
		c.killing = true
		cmd, done := c.cmd, c.done
		c.mu.Unlock()
		if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
			_ = cmd.Process.Kill() // the process has ended, or the system has no signals
		}
		select {
		case <-done:
		case <-time.After(childEnd):
			_ = cmd.Process.Kill()
			<-done
		}
		if code := cmd.ProcessState.ExitCode(); code != 0 && runtime.GOOS != "windows" {
			c.stopErr = errs.New(errs.Unknown, "the serving process ended with code %d: see %s", code, c.log.Name())
		}
	})
	return c.stopErr
}
