package sqltransport

import (
	"fmt"
	"maps"

	"millrace/platform/bus"
	"millrace/platform/bus/store"
	"millrace/platform/text"
)

// fit returns a row that a command queue takes. A broker takes records that are larger
// than a message may be: such a row becomes a dead letter with the beginning of its
// payload and of its metadata.
func (t *Transport) fit(module string, row store.Row) (store.Row, error) {
	encoded, err := store.EncodeMetadata(row.Metadata)
	if err != nil || len(row.Payload) <= bus.MaxPayload && len(encoded) <= store.MaxMetadata {
		return row, err
	}
	if row.Type != store.TypeRefused {
		row = t.refuseRow(module, row, fmt.Sprintf("it is too large: its payload is %d bytes (at most %d), its headers are %d (at most %d): have its producer send less, and discard it",
			len(row.Payload), bus.MaxPayload, len(encoded), store.MaxMetadata))
	}
	row.Payload = row.Payload[:min(len(row.Payload), bus.MaxPayload)]
	metadata := maps.Clone(row.Metadata)
	for most := 1000; ; most /= 2 {
		for name, value := range metadata {
			metadata[name] = text.Cut(value, most)
		}
		if encoded, err = store.EncodeMetadata(metadata); err != nil || len(encoded) <= store.MaxMetadata {
			row.Metadata = metadata
			return row, err
		}
	}
}
