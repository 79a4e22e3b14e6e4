package relay

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"

	"github.com/google/uuid"

	"millrace/platform/bus"
	"millrace/platform/bus/envelope"
	"millrace/platform/bus/store"
	"millrace/platform/text"
)

// maxJump is how far a number may be above the highest that is known of its stream and
// partition, beyond what the bridge had in between.
const maxJump = 1_000_000

// highest remembers, for each stream and partition, a number that the module has at least
// received, so that the database is asked only if a number seems too high.
type highest struct {
	mu sync.Mutex
	at map[store.Place]int64
}

func (h *highest) raise(p store.Place, to int64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.at == nil {
		h.at = map[store.Place]int64{}
	}
	h.at[p] = max(h.at[p], to)
}

func (h *highest) of(p store.Place) int64 {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.at[p]
}

// placeOf is the stream and the partition of a row with a number.
func placeOf(row store.Row) store.Place {
	return store.Place{Stream: store.StreamOf(row.Topic, row.Source), Partition: row.Partition}
}

// refuseJumps returns the rows with those refused whose number is too high to be true. Numbers
// have no gaps, so after n of a stream comes n+1, or as many of the bridge's records are gone
// as there are numbers missing: that is Row.Since. Of a stream of which the module has
// nothing, any number may be the first.
func (r *Receiver) refuseJumps(ctx context.Context, rows []store.Row) ([]store.Row, error) {
	known := map[store.Place]int64{}
	var checked []store.Row
	for i, row := range rows {
		if row.Sequence == 0 {
			continue
		}
		p := placeOf(row)
		top := max(known[p], r.highest.of(p))
		allowed := max(maxJump, row.Since)
		if row.Sequence-top > allowed {
			stored, err := store.HighestSequence(ctx, r.cfg.DB, r.cfg.Module, p.Stream, p.Partition)
			if err != nil {
				return nil, err
			}
			r.highest.raise(p, stored)
			top = max(known[p], stored)
			if top > 0 && row.Sequence-top > allowed {
				if checked == nil {
					checked = slices.Clone(rows)
				}
				checked[i] = r.refuser.refuse(row, fmt.Sprintf("ce_sequence is %d, more than %d above %d, the highest of %s, partition %d: find out who sent it, restrict who may write to the topic, and discard it",
					row.Sequence, maxJump, top, p.Stream, p.Partition))
				continue
			}
		}
		known[p] = max(known[p], row.Sequence)
	}
	if checked != nil {
		return checked, nil
	}
	return rows, nil
}

// refuser makes dead letters of rows that a module cannot accept.
type refuser struct {
	module string
	log    *slog.Logger
}

// refuse returns, in the place of a row, one that becomes a dead letter: the same one, however
// often the row arrives. It goes to the module's own queue, and has no number.
func (r *refuser) refuse(row store.Row, why string) store.Row {
	stream := store.StreamOf(row.Topic, row.Source)
	r.log.Error("record refused", "module", r.module, "type", row.Type, "message_id", row.ID, "stream", stream, "partition", row.Partition, "sequence", row.Sequence, "error", why)
	metadata := map[string]string{store.MetaRefused: why, store.MetaRefusedType: row.Type, store.MetaRefusedID: row.ID.String(), envelope.Source: row.Source}
	for name, value := range row.Metadata {
		if _, ours := metadata[name]; !ours {
			metadata[name] = value
		}
	}
	id := uuid.NewSHA1(uuid.NameSpaceOID, fmt.Appendf(nil, "refused %s/%d/%d/%s", stream, row.Partition, row.Sequence, row.ID))
	return store.Row{Topic: bus.CommandsOf(r.module), Source: row.Source, ID: id, Type: store.TypeRefused, Key: id.String(), Payload: row.Payload, Metadata: metadata}
}

// fit returns a row that a command queue accepts. A broker accepts records that are larger
// than a message may be: such a row becomes a dead letter with the beginning of its payload
// and of its metadata.
func (r *refuser) fit(row store.Row) (store.Row, error) {
	encoded, err := store.EncodeMetadata(row.Metadata)
	if err != nil || len(row.Payload) <= bus.MaxPayload && len(encoded) <= store.MaxMetadata {
		return row, err
	}
	if row.Type != store.TypeRefused {
		row = r.refuse(row, fmt.Sprintf("it is too large: its payload is %d bytes (at most %d), its headers are %d (at most %d): have its producer send less, and discard it",
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
