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

// Options configure a cluster. The zero value is one broker.
type Options struct {
	Nodes      int  // 1 or 3; 0 is 1
	Partitions int  // default number of partitions of a topic; 0 is 8
	Secure     bool // adds the listeners of TLS, SASL and SASLTLS
	Authorize  bool // with Secure: User has no rights until ACLs grant them; the plain listener has all rights
	Proxy      bool // adds a Proxy in front of each broker
	// Properties override or add settings in every broker's server.properties.
	Properties map[string]string
}

// startWithin is how long brokers may take to start, on a busy machine.
const startWithin = 2 * time.Minute

// Cluster is one or three brokers that run together. They are numbered from 0;
// broker i has the node id i+1.
type Cluster struct {
	options Options
	dir     string
	at      []addresses
	nodes   []*node
	proxies []*Proxy
	release func() // ends the watchdog
	close   func() error
}

// Start starts a cluster that is closed when the test ends. If the test has failed,
// it then logs the end of each broker's log.
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

// Open starts a cluster that runs until Close. If it is not ready within two minutes,
// the error has the end of each broker's log. The context bounds the start only.
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
	for attempt := 1; ; attempt++ { // with other ports, if another process took one meanwhile
		c, err := h.try(ctx, o, template)
		if err == nil || attempt == 3 || !strings.Contains(err.Error(), "Address already in use") {
			return c, err
		}
	}
}

// try starts a cluster, with the given options of the JVM or the default ones.
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

// Close ends the brokers and removes their data. It may be called more than once.
func (c *Cluster) Close() error { return c.close() }

func (c *Cluster) end() error {
	var all sync.WaitGroup
	errs := make([]error, len(c.nodes))
	for i, n := range c.nodes {
		all.Go(func() {
			n.mu.Lock()
			defer n.mu.Unlock()
			// A clean shutdown is usually faster than a kill; but brokers that shut
			// down at the same time may wait for each other.
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

// Brokers returns the addresses of the plaintext listeners, indexed by broker.
func (c *Cluster) Brokers() []string { return c.listening(plain) }

// TLS returns the addresses of the listeners with TLS and without authentication.
func (c *Cluster) TLS() []string { return c.listening(secured) }

// SASLTLS returns the addresses of the listeners with TLS that require User and Password.
func (c *Cluster) SASLTLS() []string { return c.listening(saslTLS) }

// SASL returns the addresses of the listeners without TLS that require User and Password.
func (c *Cluster) SASL() []string { return c.listening(saslPlain) }

// Proxied returns the addresses of the proxies. Clients that start with these use the
// proxies for all connections.
func (c *Cluster) Proxied() []string {
	var all []string
	for _, p := range c.proxies {
		all = append(all, p.Addr())
	}
	return all
}

// Proxy returns the proxy in front of broker i.
func (c *Cluster) Proxy(i int) *Proxy { return c.proxies[i] }

// CA returns the path of a PEM file with the certificate of the authority that signed
// the brokers' certificates. Close removes it.
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

// Stop shuts broker i down and returns when it has ended. A broker that does not end
// within ten seconds, for instance without a quorum of controllers, is killed, and
// Stop returns an error.
func (c *Cluster) Stop(i int) error {
	return c.fault(i, func(n *node) error { return n.stop(stopWithin) })
}

// Kill kills broker i with SIGKILL, and returns when the process has ended and its
// ports are closed.
func (c *Cluster) Kill(i int) error { return c.fault(i, (*node).kill) }

// Freeze stops every thread of broker i until Thaw. Connections stay open and the
// kernel accepts new ones, but nothing answers.
func (c *Cluster) Freeze(i int) error { return c.fault(i, (*node).freeze) }

// Thaw resumes a frozen broker. The other brokers may have declared it dead meanwhile.
func (c *Cluster) Thaw(i int) error { return c.fault(i, (*node).thaw) }

// Restart starts broker i again with the same data and addresses; it stops it first
// if it is running. It returns when the broker is ready and in sync, for which a
// majority of the brokers must run.
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

// Logs returns the last lines of each broker's log.
func (c *Cluster) Logs() string {
	var text strings.Builder
	for i, n := range c.nodes {
		log, err := os.ReadFile(n.log())
		if err != nil {
			log = []byte(err.Error())
		}
		fmt.Fprintf(&text, "--- the log of broker %d ends with\n%s\n", i, tail(log, 60))
	}
	return text.String()
}
