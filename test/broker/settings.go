package broker

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"

	"golang.org/x/sync/errgroup"
)

// clusterID is the same for all clusters, so that formatted data folders can be copied.
const clusterID = "TWlsbHJhY2VNaWxscmFjZQ"

// The listeners of a broker. Brokers connect to each other through plain.
const (
	plain      = "PLAINTEXT"
	controller = "CONTROLLER"
	proxied    = "PROXIED" // advertised with the address of its proxy
	secured    = "TLS"
	saslTLS    = "SASLTLS"
	saslPlain  = "SASLPLAIN"
)

var protocols = map[string]string{
	plain: "PLAINTEXT", controller: "PLAINTEXT", proxied: "PLAINTEXT", secured: "SSL", saslTLS: "SASL_SSL", saslPlain: "SASL_PLAINTEXT",
}

// listeners returns the names of the listeners that the options require.
func (o Options) listeners() []string {
	names := []string{plain, controller}
	if o.Proxy {
		names = append(names, proxied)
	}
	if o.Secure {
		names = append(names, secured, saslTLS, saslPlain)
	}
	return names
}

// addresses are the addresses of one broker, by listener.
type addresses map[string]string

var taken struct {
	sync.Mutex
	ports map[int]bool
}

// freeAddresses chooses ports below the ephemeral range, so that no outgoing connection
// takes the port of a broker that is down. If another process takes a port before the
// broker does, the broker fails to start and Open chooses other ports.
func freeAddresses(names []string) (addresses, error) {
	taken.Lock()
	defer taken.Unlock()
	if taken.ports == nil {
		taken.ports = map[int]bool{}
	}
	found := addresses{}
	for range 1000 {
		if len(found) == len(names) {
			return found, nil
		}
		port := 20_000 + rand.IntN(12_000)
		at := net.JoinHostPort("127.0.0.1", strconv.Itoa(port))
		if taken.ports[port] {
			continue
		}
		l, err := net.Listen("tcp", at)
		if err != nil {
			continue
		}
		if err := l.Close(); err != nil {
			return nil, err
		}
		taken.ports[port] = true
		found[names[len(found)]] = at
	}
	return nil, errors.New("broker: no free port between 20000 and 32000")
}

// properties returns the server.properties of one broker.
func (o Options) properties(index int, dir string, all []addresses, proxies []*Proxy) string {
	at := all[index]
	var bound, advertised, mapped, voters []string
	for _, name := range o.listeners() {
		bound = append(bound, name+"://"+at[name])
		mapped = append(mapped, name+":"+protocols[name])
		switch name {
		case controller:
		case proxied:
			shown := at[name]
			if proxies != nil {
				shown = proxies[index].Addr()
			}
			advertised = append(advertised, name+"://"+shown)
		default:
			advertised = append(advertised, name+"://"+at[name])
		}
	}
	for i, other := range all {
		voters = append(voters, fmt.Sprintf("%d@%s", i+1, other[controller]))
	}
	p := map[string]string{
		"process.roles":                  "broker,controller",
		"node.id":                        strconv.Itoa(index + 1),
		"controller.quorum.voters":       strings.Join(voters, ","),
		"listeners":                      strings.Join(bound, ","),
		"advertised.listeners":           strings.Join(advertised, ","),
		"listener.security.protocol.map": strings.Join(mapped, ","),
		"controller.listener.names":      controller,
		"inter.broker.listener.name":     plain,
		"log.dirs":                       filepath.ToSlash(filepath.Join(dir, "data")),

		"num.partitions":                               strconv.Itoa(o.Partitions),
		"auto.create.topics.enable":                    "false",
		"group.initial.rebalance.delay.ms":             "0",
		"broker.heartbeat.interval.ms":                 "200",
		"broker.session.timeout.ms":                    "1500",
		"controller.quorum.append.linger.ms":           "5",
		"log.index.size.max.bytes":                     "262144",
		"offsets.topic.num.partitions":                 "1",
		"transaction.state.log.num.partitions":         "1",
		"share.coordinator.state.topic.num.partitions": "1",
	}
	if o.Nodes == 1 {
		p["offsets.topic.replication.factor"] = "1"
		for _, topic := range []string{"transaction.state.log", "share.coordinator.state.topic"} {
			p[topic+".replication.factor"] = "1"
			p[topic+".min.isr"] = "1"
		}
	} else {
		p["default.replication.factor"] = "3"
		p["min.insync.replicas"] = "2"
		p["offsets.topic.replication.factor"] = "3"
		p["replica.lag.time.max.ms"] = "2000"
	}
	if o.Secure {
		maps.Copy(p, securityOf(filepath.Dir(dir)))
	}
	if o.Authorize {
		p["authorizer.class.name"] = "org.apache.kafka.metadata.authorizer.StandardAuthorizer"
		p["super.users"] = "User:ANONYMOUS" // connections to the plain listener, including those of the brokers
	}
	maps.Copy(p, o.Properties)
	var text strings.Builder
	for _, name := range slices.Sorted(maps.Keys(p)) {
		fmt.Fprintf(&text, "%s=%s\n", name, p[name])
	}
	return text.String()
}

// formatted calls format under the lock.
func (h *home) formatted(ctx context.Context, o Options) (string, error) {
	unlock, err := lock(ctx, h.dir+".lock")
	if err != nil {
		return "", fmt.Errorf("broker: wait for %s.lock: %w", h.dir, err)
	}
	defer unlock()
	return h.format(ctx, o)
}

// format returns a folder with a formatted data folder for each broker: "0", "1", and
// so on. These have no ports and no paths in them, so they are created once and then
// copied. The caller holds the lock.
func (h *home) format(ctx context.Context, o Options) (string, error) {
	name := "formatted-" + strconv.Itoa(o.Nodes)
	var users []string
	if o.Secure {
		name += "-users"
		for _, mechanism := range []string{"SCRAM-SHA-256", "SCRAM-SHA-512"} {
			users = append(users, "--add-scram", fmt.Sprintf("%s=[name=%s,password=%s]", mechanism, User, Password))
		}
	}
	done := filepath.Join(h.dir, name)
	if _, err := os.Stat(done); err == nil {
		return done, nil
	}
	made, err := os.MkdirTemp(h.dir, "format-")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(made) //nolint:errcheck // a leftover does no harm
	bare := Options{Nodes: o.Nodes, Partitions: o.Partitions}
	all := make([]addresses, o.Nodes)
	for i := range all {
		// Placeholder ports: the formatted folder does not contain them.
		all[i] = addresses{plain: fmt.Sprintf("127.0.0.1:%d", 20_000+i), controller: fmt.Sprintf("127.0.0.1:%d", 21_000+i)}
	}
	var tools errgroup.Group
	for i := range all {
		tools.Go(func() error {
			dir := filepath.Join(made, "node", strconv.Itoa(i))
			if err := os.MkdirAll(dir, 0o700); err != nil {
				return err
			}
			settings := filepath.Join(dir, "server.properties")
			if err := os.WriteFile(settings, []byte(bare.properties(i, dir, all, nil)), 0o600); err != nil {
				return err
			}
			return h.tool(ctx, dir, "kafka.tools.StorageTool", append([]string{"format", "-t", clusterID, "-c", settings}, users...)...)
		})
	}
	if err := tools.Wait(); err != nil {
		return "", fmt.Errorf("broker: format: %w", err)
	}
	fresh := filepath.Join(made, "fresh")
	for i := range all {
		if err := copyFolder(filepath.Join(made, "node", strconv.Itoa(i), "data"), filepath.Join(fresh, strconv.Itoa(i))); err != nil {
			return "", err
		}
	}
	return done, os.Rename(fresh, done)
}

func copyFolder(from, to string) error {
	if err := os.MkdirAll(filepath.Dir(to), 0o700); err != nil {
		return err
	}
	source := os.DirFS(from)
	if _, err := fs.Stat(source, "."); err != nil {
		return err
	}
	return os.CopyFS(to, source)
}
