package bus

import (
	"context"
	"encoding/json"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/google/uuid"

	"millrace/platform/bus/envelope"
	"millrace/platform/correlation"
	"millrace/platform/errs"
)

// MaxPayload is the largest payload of a message, in bytes of JSON. A larger
// one is refused when it is published, so that no transport meets it later.
const MaxPayload = 256 << 10

// MaxKey is the longest key of a message, in bytes.
const MaxKey = 255

// MaxType is the longest name of a message, in bytes.
const MaxType = 100

var validType = regexp.MustCompile(`^[a-z0-9][a-z0-9._-]*$`)

// ValidType reports whether a message may have the name: a–z, 0–9, ".", "_" and
// "-", a letter or digit first, at most MaxType bytes. A record of another kind
// is unreadable where it arrives.
func ValidType(name string) bool { return len(name) <= MaxType && validType.MatchString(name) }

// Event is a fact that has happened. Its name is in the past tense and starts
// with the owner's name ("payment.completed"); both never change. Key is what
// it is about (an order, a consultation): per key, order is kept. An event
// carries ids and facts, never personal data: the log is kept permanently. It may
// have a method Validate() error, see On.
type Event interface {
	EventName() string
	Key() string
}

// Command asks the one module that owns it to do something. Its name is an
// imperative and starts with the owner's name ("payment.refund").
type Command interface {
	CommandName() string
	Key() string
}

// Received is a message as it arrived: the envelope (CloudEvents 1.0
// attributes) and the payload, not decoded.
type Received struct {
	ID          uuid.UUID       // ce_id; UUIDv7, unique
	Type        string          // ce_type
	Source      string          // ce_source: the module that published or sent it
	Key         string          // ce_partitionkey
	Time        time.Time       // ce_time: when it was published or sent, before the commit
	Schema      string          // ce_dataschema: type/major
	Topic       string          // the owner's log or queue it was read from
	Partition   int             // 0…63, murmur2(key) & 63
	Sequence    int64           // ce_sequence: gapless per topic and partition, in commit order
	Correlation string          // the conversation it belongs to
	Causation   string          // the id of the message that caused it, or ""
	Data        json.RawMessage // the payload
}

// ReceivedFrom reads the envelope of a message that a transport delivered.
// A message without an id, a type or a key is Undecodable.
func ReceivedFrom(msg *message.Message) (Received, error) {
	m := msg.Metadata
	r := Received{
		Type: m.Get(envelope.Type), Source: m.Get(envelope.Source), Key: m.Get(envelope.Key), Schema: m.Get(envelope.DataSchema),
		Topic: m.Get(envelope.Topic), Correlation: m.Get(envelope.Correlation), Causation: m.Get(envelope.Causation),
		Data: json.RawMessage(msg.Payload),
	}
	var err error
	if r.ID, err = uuid.Parse(m.Get(envelope.ID)); err != nil || r.ID == uuid.Nil {
		return r, errs.New(errs.Undecodable, "%s %q is not a UUID", envelope.ID, m.Get(envelope.ID))
	}
	if r.Type == "" || r.Key == "" {
		return r, errs.New(errs.Undecodable, "message %s has no %s or no %s", r.ID, envelope.Type, envelope.Key)
	}
	if at := m.Get(envelope.Time); at != "" {
		if r.Time, err = time.Parse(time.RFC3339Nano, at); err != nil {
			return r, errs.New(errs.Undecodable, "message %s: %s %q is not RFC 3339", r.ID, envelope.Time, at)
		}
	}
	r.Partition, _ = strconv.Atoi(m.Get(envelope.Partition))           // set by our own transport; 0 elsewhere
	r.Sequence, _ = strconv.ParseInt(m.Get(envelope.Sequence), 10, 64) // likewise
	return r, nil
}

// schema is implemented by a message whose name does not determine the form of
// its payload, as "consultation.changed/1-thin".
type schema interface{ DataSchema() string }

// newMessage builds a message. cause is the message being handled,
// or the zero Received in a use case.
func newMessage(ctx context.Context, source, name, key string, body any, cause Received) (*message.Message, error) {
	if key == "" || len(key) > MaxKey || !utf8.ValidString(key) || strings.ContainsFunc(key, unicode.IsControl) {
		return nil, errs.New(errs.Invalid, "%s: the key %.300q must be UTF-8 without control characters, 1 to %d bytes", name, key, MaxKey)
	}
	payload, err := json.Marshal(body)
	if err != nil {
		return nil, errs.New(errs.Invalid, "%s: encode: %w", name, err)
	}
	if string(payload) == "null" {
		return nil, errs.New(errs.Invalid, "%s: encodes as null; a message has facts", name)
	}
	if len(payload) > MaxPayload {
		return nil, errs.New(errs.TooLarge, "%s: payload is %d bytes, the limit is %d", name, len(payload), MaxPayload)
	}
	id, err := uuid.NewV7()
	if err != nil {
		return nil, fmt.Errorf("%s: new id: %w", name, err)
	}
	dataschema := name + "/1"
	if s, ok := body.(schema); ok {
		dataschema = s.DataSchema()
	}
	msg := message.NewMessageWithContext(ctx, id.String(), payload)
	msg.Metadata = message.Metadata{
		envelope.SpecVersion: "1.0", envelope.ID: id.String(), envelope.Type: name, envelope.Source: source,
		envelope.Subject: key, envelope.Key: key, envelope.DataSchema: dataschema, envelope.ContentType: "application/json",
		envelope.Time: time.Now().UTC().Format(time.RFC3339Nano),
	}
	switch {
	case cause.ID != uuid.Nil:
		msg.Metadata[envelope.Causation] = cause.ID.String()
		msg.Metadata[envelope.Correlation] = cause.Correlation
	case correlation.From(ctx) != "":
		msg.Metadata[envelope.Correlation] = correlation.From(ctx)
	}
	if msg.Metadata[envelope.Correlation] == "" {
		msg.Metadata[envelope.Correlation] = id.String()
	}
	if parent := traceparentFrom(ctx); parent != "" {
		msg.Metadata[envelope.Traceparent] = parent
	}
	return msg, nil
}

type traceKey struct{}

func withTraceparent(ctx context.Context, parent string) context.Context {
	return context.WithValue(ctx, traceKey{}, parent)
}

func traceparentFrom(ctx context.Context) string {
	parent, _ := ctx.Value(traceKey{}).(string)
	return parent
}
