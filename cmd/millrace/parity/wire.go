package parity

import (
	"context"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"millrace/cmd/millrace/demo"
)

// message is a message on the wire, read from a topic or from its sender's database.
type message struct {
	typ, key string
	payload  []byte
	envelope map[string]string
}

// spell adds a message to the line of its type: the payload byte for byte except for
// generated ids and times, and each attribute of the envelope as a field.
func (n *names) spell(lines map[string]*line, m message) {
	l := lines[m.typ]
	if l == nil {
		l = &line{name: "wire of " + m.typ}
		lines[m.typ] = l
	}
	r := row{"key": n.text(m.key), "payload": n.text(string(m.payload))}
	for name, value := range m.envelope {
		r[name] = n.text(value)
	}
	r["ce_sequence"] = n.number(m.envelope["ce_id"], m.envelope["ce_sequence"])
	l.rows = append(l.rows, r)
}

func (o *observed) addWire(lines map[string]*line) {
	for _, typ := range slices.Sorted(maps.Keys(lines)) {
		o.add(*lines[typ])
	}
}

// listener reads all topics of a run from the first record on, with a client library
// that the program does not use. It reads during the run, because commands are deleted
// once they were received.
type listener struct {
	client *kgo.Client
	over   context.CancelFunc
	done   sync.WaitGroup
	mu     sync.Mutex
	got    map[string]message // topic/partition/offset
}

func listen(scene demo.Scene) (*listener, error) {
	client, err := kgo.NewClient(kgo.SeedBrokers(scene.Brokers...), kgo.ConsumeRegex(),
		kgo.ConsumeTopics("^"+regexp.QuoteMeta(scene.Prefix)+".*"), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()),
		kgo.MetadataMinAge(100*time.Millisecond), kgo.MetadataMaxAge(time.Second), kgo.FetchMaxWait(100*time.Millisecond))
	if err != nil {
		return nil, fmt.Errorf("listen to the topics: %w", err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	l := &listener{client: client, over: cancel, got: map[string]message{}}
	l.done.Go(func() {
		for ctx.Err() == nil {
			l.take(client.PollFetches(ctx))
		}
	})
	return l, nil
}

func (l *listener) take(fetched kgo.Fetches) {
	l.mu.Lock()
	defer l.mu.Unlock()
	fetched.EachRecord(func(r *kgo.Record) {
		m := message{key: string(r.Key), payload: r.Value, envelope: map[string]string{}}
		for _, header := range r.Headers {
			m.envelope[header.Key] = string(header.Value)
		}
		m.typ = m.envelope["ce_type"]
		l.got[fmt.Sprintf("%s/%d/%d", r.Topic, r.Partition, r.Offset)] = m
	})
}

// messages waits until n messages have arrived, at most 10 s, stops the listener, and
// returns the messages that arrived.
func (l *listener) messages(ctx context.Context, n int) []message {
	const patience = 10 * time.Second
	limit := time.Now().Add(patience)
	for time.Now().Before(limit) && ctx.Err() == nil {
		l.mu.Lock()
		enough := len(l.got) >= n
		l.mu.Unlock()
		if enough {
			break
		}
		wait, cancel := context.WithTimeout(ctx, 50*time.Millisecond)
		<-wait.Done()
		cancel()
	}
	l.close()
	return slices.Collect(maps.Values(l.got))
}

func (l *listener) close() {
	l.over()
	l.done.Wait()
	l.client.Close()
}
