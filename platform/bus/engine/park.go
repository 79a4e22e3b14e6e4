package engine

import (
	"slices"
	"strings"
	"time"

	"millrace/platform/bus/store"
	"millrace/platform/errs"
	"millrace/platform/redact"
)

// deadLetter is a message that becomes a dead letter with the commit.
type deadLetter struct {
	store.Record
	stream  string
	parking store.Parking
}

// note remembers a message that is parked, if it is a dead letter.
func (b *batch) note(stream string, row store.Record, parking store.Parking) {
	if parking.State == store.StateDead {
		b.dead = append(b.dead, deadLetter{row, stream, parking})
	}
}

// parkingAfter returns how a message is parked whose nth attempt failed.
func parkingAfter(backoff []time.Duration, attempt int, cause error) store.Parking {
	kind := errs.KindOf(cause)
	parking := store.Parking{State: store.StateDead, Attempts: attempt, Kind: kind.String(), Error: redact.Error(cause)}
	if kind.Reaction() != errs.Dead && attempt <= len(backoff) {
		parking.State, parking.Wait = store.StateRetryScheduled, backoff[attempt-1]
	}
	return parking
}

// parkingOf returns how a record is parked that the bus itself has stored in the place of a
// message: a dead letter that no handler sees.
func parkingOf(row store.Record) (parking store.Parking, special bool) {
	dead := func(kind errs.Kind, text string) (store.Parking, bool) {
		return store.Parking{State: store.StateDead, Kind: kind.String(), Error: text}, true
	}
	switch row.Type {
	case store.TypeLost:
		return dead(errs.Undecodable, "it never arrived; its sender still has it")
	case store.TypeUnreadable: // a repetition is parked already
		return dead(errs.Undecodable, unreadableText(row.Metadata))
	case store.TypeRefused:
		return dead(errs.Forbidden, store.DecodeMetadata(row.Metadata).Get(store.MetaRefused))
	}
	return store.Parking{}, false
}

// unreadableText is the error text of an unreadable record. The bridge has escaped an invalid
// type.
func unreadableText(metadata []byte) string {
	if bad := store.DecodeMetadata(metadata).Get(store.MetaBadType); bad != "" {
		return "it came through the bridge with a type that no message may have, so nobody can read it: " + bad
	}
	return "it came through the bridge without a type, so nobody can read it"
}

// awaitsVersion returns why a message of a type that this process does not know must be kept
// for another version of the module, or "" if none needs it.
func (b *batch) awaitsVersion(stream, messageType string) string {
	if strings.HasSuffix(store.TopicOf(stream), ".commands") {
		return "this version of the module does not know the command"
	}
	if slices.Contains(b.newer, messageType) {
		return "another version of the module has subscribed to the type, and this one does not know it"
	}
	return ""
}
