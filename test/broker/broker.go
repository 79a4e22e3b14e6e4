package broker

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// Options say which cluster to start; the zero value is one broker.
type Options struct {
	Nodes      int  // 1 or 3; 0 is 1
	Partitions int  // of a topic that is created without saying how many; 0 is 8
	Secure     bool // adds the listeners of TLS, SASL and SASLTLS
	Authorize  bool // with Secure: User may do nothing until somebody allows it; the plain listener may do everything
	Proxy      bool // adds a listener behind a Proxy before each broker
	// Properties replace or add lines of every broker's server.properties.
	Properties map[string]string
}

// startWithin is how long brokers may take to serve, on a busy machine.
const startWithin = 2 * time.Minute

// Cluster is one or three brokers that run together. They are numbered from 0;
// broker i has the node id i+1.
type Cluster struct {
	options Options
	dir     string
	at      []addresses
	nodes   []*node
	proxies []*Proxy
	release func() // of the watchdog
	close   func() error
}

// Start starts a cluster that ends with the test. If the test has failed by
// then, it logs the end of each broker's log.
func Start(t testing.TB, o Options) *Cluster {
	t.Helper()
	c, err := Open(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Log(c.Logs())
		}
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	})
	return c
}

// Open starts a cluster that ends with Close. It fails if the cluster does not
// serve within two minutes, and says what the brokers said. The context is for
// the start alone.
func Open(ctx context.Context, o Options) (*Cluster, error) {
	if o.Nodes == 0 {
		o.Nodes = 1
	}
	if o.Partitions == 0 {
		o.Partitions = 8
	}
	if o.Nodes != 1 && o.Nodes != 3 {
		return nil, fmt.Errorf("broker: a cluster has 1 or 3 brokers, not %d", o.Nodes)
	}
	if o.Authorize && !o.Secure {
		return nil, errors.New("broker: Authorize without Secure: everybody would be the same superuser")
	}
	h, err := install(ctx)
	if err != nil {
		return nil, err
	}
	template, err := h.formatted(ctx, o)
	if err != nil {
		return nil, err
	}
	for attempt := 1; ; attempt++ { // with other ports, if somebody was faster
		c, err := h.try(ctx, o, template)
		if err == nil || attempt == 3 || !strings.Contains(err.Error(), "Address already in use") {
			return c, err
		}
	}
}

// try starts a cluster, each broker with these options of the JVM or the usual ones.
func (h *home) try(ctx context.Context, o Options, template string, jvm ...string) (_ *Cluster, err error) {
	dir, err := os.MkdirTemp("", "millrace-kafka-")
	if err != nil {
		return nil, err
	}
	c := &Cluster{options: o, dir: dir, release: func() {}}
	c.close = sync.OnceValue(c.end)
	defer func() {
		if err != nil {
			err = errors.Join(fmt.Errorf("%w\n%s", err, c.Logs()), c.Close())
		}
	}()
	if c.release, err = watch(dir); err != nil {
		return nil, err
	}
	if o.Secure {
		if err := writeCertificates(dir); err != nil {
			return nil, err
		}
	}
	for range o.Nodes {
		at, err := freeAddresses(o.listeners())
		if err != nil {
			return nil, err
		}
		c.at = append(c.at, at)
		if o.Proxy {
			p, err := NewProxy(at[proxied])
			if err != nil {
				return nil, err
			}
			c.proxies = append(c.proxies, p)
		}
	}
	for i := range o.Nodes {
		n := &node{index: i, home: h, dir: filepath.Join(dir, "node-"+strconv.Itoa(i+1))}
		if err := copyFolder(filepath.Join(template, strconv.Itoa(i)), filepath.Join(n.dir, "data")); err != nil {
			return nil, err
		}
		text := o.properties(i, n.dir, c.at, c.proxies)
		if err := os.WriteFile(filepath.Join(n.dir, "server.properties"), []byte(text), 0o600); err != nil {
			return nil, err
		}
		c.nodes = append(c.nodes, n)
		if err := n.start(jvm...); err != nil {
			return nil, err
		}
	}
	return c, c.serves(ctx, c.nodes...)
}

// Close ends the brokers and removes their data. It may be called again.
func (c *Cluster) Close() error { return c.close() }

func (c *Cluster) end() error {
	var all sync.WaitGroup
	errs := make([]error, len(c.nodes))
	for i, n := range c.nodes {
		all.Go(func() {
			n.mu.Lock()
			defer n.mu.Unlock()
			// A clean end is the faster one; but three that end together may
			// wait for each other.
			if n.frozen || n.stop(2*time.Second) != nil {
				errs[i] = n.kill()
			}
		})
	}
	all.Wait()
	for _, p := range c.proxies {
		errs = append(errs, p.Close())
	}
	c.release()
	return errors.Join(append(errs, os.RemoveAll(c.dir))...)
}

// Brokers are the addresses of the plaintext listeners, that of broker i at i.
func (c *Cluster) Brokers() []string { return c.listening(plain) }

// TLS are the addresses that speak TLS and ask for no password.
func (c *Cluster) TLS() []string { return c.listening(secured) }

// SASLTLS are the addresses that speak TLS and ask for User and Password.
func (c *Cluster) SASLTLS() []string { return c.listening(saslTLS) }

// SASL are the addresses that ask for User and Password without TLS.
func (c *Cluster) SASL() []string { return c.listening(saslPlain) }

// Proxied are the addresses of the proxies. Clients that begin there stay
// behind the proxies.
func (c *Cluster) Proxied() []string {
	var all []string
	for _, p := range c.proxies {
		all = append(all, p.Addr())
	}
	return all
}

// Proxy is the one before broker i.
func (c *Cluster) Proxy(i int) *Proxy { return c.proxies[i] }

// CA is the file with the certificate of the authority that signed the
// brokers', in PEM. It is removed with the cluster.
func (c *Cluster) CA() string { return filepath.Join(c.dir, caFile) }

func (c *Cluster) listening(listener string) []string {
	var all []string
	for _, at := range c.at {
		if address, ok := at[listener]; ok {
			all = append(all, address)
		}
	}
	return all
}

// Stop shuts broker i down and returns when it has ended. It is an error if it
// had to be killed after ten seconds, as one may that lost its controllers.
func (c *Cluster) Stop(i int) error {
	return c.fault(i, func(n *node) error { return n.stop(stopWithin) })
}

// Kill ends broker i at once, by kill −9, and returns when the process, all its
// threads and its ports are gone.
func (c *Cluster) Kill(i int) error { return c.fault(i, (*node).kill) }

// Freeze stops every thread of broker i until Thaw: connections stay open and
// nothing answers, the kernel still accepts new ones.
func (c *Cluster) Freeze(i int) error { return c.fault(i, (*node).freeze) }

// Thaw lets a frozen broker go on. The others may have declared it dead.
func (c *Cluster) Thaw(i int) error { return c.fault(i, (*node).thaw) }

// Restart starts broker i again with the same data and addresses, after a
// Stop if it runs, and returns when it serves and is in sync. It needs a
// majority of the brokers.
func (c *Cluster) Restart(i int) error {
	return c.fault(i, func(n *node) error {
		if err := n.stop(stopWithin); err != nil {
			return err
		}
		if err := n.start(); err != nil {
			return err
		}
		return c.serves(context.Background(), n)
	})
}

func (c *Cluster) fault(i int, do func(*node) error) error {
	n := c.nodes[i]
	n.mu.Lock()
	defer n.mu.Unlock()
	if err := do(n); err != nil {
		return fmt.Errorf("broker %d: %w", i, err)
	}
	return nil
}

// Logs is the end of what each broker wrote.
func (c *Cluster) Logs() string {
	var text strings.Builder
	for i, n := range c.nodes {
		said, err := os.ReadFile(n.log())
		if err != nil {
			said = []byte(err.Error())
		}
		fmt.Fprintf(&text, "--- the log of broker %d ends with\n%s\n", i, tail(said, 60))
	}
	return text.String()
}
