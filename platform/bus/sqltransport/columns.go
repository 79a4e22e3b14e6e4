package sqltransport

import (
	"encoding/json"
	"fmt"
	"slices"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/lib/pq"

	"millrace/platform/bus/envelope"
)

// columns are messages as the append functions and the inbound table take them:
// an array for each column.
type columns struct {
	partitions                 []int64
	ids, types, keys, metadata []string
	payloads                   [][]byte
}

// addMessage adds what a module publishes or sends, and returns its partition.
func (c *columns) addMessage(msg *message.Message) (partition int64, err error) {
	key := msg.Metadata.Get(envelope.Key)
	partition = int64(PartitionOf(key))
	return partition, c.add(partition, msg.UUID, msg.Metadata.Get(envelope.Type), key, msg.Payload, msg.Metadata)
}

// addRow adds what a carrier brought.
func (c *columns) addRow(row Row, partition int) error {
	return c.add(int64(partition), row.ID.String(), row.Type, row.Key, row.Payload, row.Metadata)
}

func (c *columns) add(partition int64, id, messageType, key string, payload []byte, metadata message.Metadata) error {
	rest, err := restOf(metadata)
	if err != nil {
		return fmt.Errorf("metadata of message %s: %w", id, err)
	}
	if payload == nil { // it would be NULL
		payload = []byte{}
	}
	c.partitions = append(c.partitions, partition)
	c.ids = append(c.ids, id)
	c.types = append(c.types, messageType)
	c.keys = append(c.keys, key)
	c.payloads = append(c.payloads, payload)
	c.metadata = append(c.metadata, rest)
	return nil
}

// arrays are the arguments for several messages.
func (c *columns) arrays() []any {
	return []any{
		pq.Array(c.partitions), pq.Array(c.ids), pq.Array(c.types), pq.Array(c.keys),
		pq.ByteaArray(c.payloads), pq.Array(c.metadata),
	}
}

func (c *columns) single() bool { return len(c.ids) == 1 }

// one are the arguments for a single message.
func (c *columns) one() []any {
	return []any{c.partitions[0], c.ids[0], c.types[0], c.keys[0], c.payloads[0], c.metadata[0]}
}

// restOf is the JSON of what has no column. It is written by hand because
// json.Marshal of a map took half of InsertQuery's time.
func restOf(metadata message.Metadata) (string, error) {
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
