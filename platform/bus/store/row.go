package store

import "github.com/google/uuid"

// Row is a message on its way between databases.
type Row struct {
	Topic     string // the owner's events or commands: "payment.events"
	Source    string // the module that published or sent it
	Partition int    // 0…63: murmur2(key) & 63
	Sequence  int64  // gapless per topic, source and partition; 0: it comes from a producer that does not count
	ID        uuid.UUID
	Type      string
	Since     int64 // how many records the bridge had since what was received before, at most: see relay.Receiver
	Key       string
	Payload   []byte
	Metadata  map[string]string // the envelope but what has a field here
	TopicID   string            // of a row that is sent: see Committed
}
