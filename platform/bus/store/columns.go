package store

import (
	"encoding/json"
	"fmt"
	"slices"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/lib/pq"

	"millrace/platform/bus/envelope"
)

// MaxMetadata is the largest metadata of a row in bytes, as JSON.
const MaxMetadata = 16384

// Columns are messages as the append functions and the inbound table take them:
// an array for each column.
type Columns struct {
	Partitions                 []int64
	IDs, Types, Keys, Metadata []string
	Payloads                   [][]byte
}

// AddMessage adds what a module publishes or sends, and returns its partition.
func (c *Columns) AddMessage(msg *message.Message) (partition int64, err error) {
	key := msg.Metadata.Get(envelope.Key)
	partition = int64(PartitionOf(key))
	return partition, c.add(partition, msg.UUID, msg.Metadata.Get(envelope.Type), key, msg.Payload, msg.Metadata)
}

// AddRow adds a row of a bridge.
func (c *Columns) AddRow(row Row, partition int) error {
	return c.add(int64(partition), row.ID.String(), row.Type, row.Key, row.Payload, row.Metadata)
}

func (c *Columns) add(partition int64, id, messageType, key string, payload []byte, metadata message.Metadata) error {
	rest, err := EncodeMetadata(metadata)
	if err != nil {
		return fmt.Errorf("metadata of message %s: %w", id, err)
	}
	if payload == nil { // it would be NULL
		payload = []byte{}
	}
	c.Partitions = append(c.Partitions, partition)
	c.IDs = append(c.IDs, id)
	c.Types = append(c.Types, messageType)
	c.Keys = append(c.Keys, key)
	c.Payloads = append(c.Payloads, payload)
	c.Metadata = append(c.Metadata, rest)
	return nil
}

// Arrays are the arguments for several messages.
func (c *Columns) Arrays() []any {
	return []any{
		pq.Array(c.Partitions), pq.Array(c.IDs), pq.Array(c.Types), pq.Array(c.Keys),
		pq.ByteaArray(c.Payloads), pq.Array(c.Metadata),
	}
}

func (c *Columns) Single() bool { return len(c.IDs) == 1 }

// One are the arguments for a single message.
func (c *Columns) One() []any {
	return []any{c.Partitions[0], c.IDs[0], c.Types[0], c.Keys[0], c.Payloads[0], c.Metadata[0]}
}

// inColumns are the attributes that have columns of their own. They are put back when
// the row is read.
var inColumns = []string{envelope.ID, envelope.Type, envelope.Key, envelope.Subject, envelope.Sequence, envelope.Topic, envelope.Partition}

// EncodeMetadata is the JSON of what has no column. It is written by hand because
// json.Marshal of a map took half of InsertQuery's time.
func EncodeMetadata(metadata message.Metadata) (string, error) {
	text := make([]byte, 1, 320)
	text[0] = '{'
	for name, value := range metadata {
		if slices.Contains(inColumns, name) {
			continue
		}
		if len(text) > 1 {
			text = append(text, ',')
		}
		var err error
		if text, err = appendJSON(text, name); err != nil {
			return "", err
		}
		text = append(text, ':')
		if text, err = appendJSON(text, value); err != nil {
			return "", err
		}
	}
	return string(append(text, '}')), nil
}

// appendJSON appends s as a JSON string.
func appendJSON(text []byte, s string) ([]byte, error) {
	for i := range len(s) {
		if c := s[i]; c < ' ' || c > '~' || c == '"' || c == '\\' {
			quoted, err := json.Marshal(s)
			return append(text, quoted...), err
		}
	}
	return append(append(append(text, '"'), s...), '"'), nil
}
