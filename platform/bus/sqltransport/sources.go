package sqltransport

import (
	"database/sql"
	"strings"

	"millrace/platform/bus"
	"millrace/platform/bus/relay"
	"millrace/platform/bus/store"
	"millrace/platform/bus/work"
)

// sources has the readers of this process, each made when it is first needed.
type sources struct {
	streams streams
	db      *sql.DB // reads every module's tables
	readers work.Readers
}

// subscribed returns the readers of a module's subscriptions. Subscribers that read the same
// table share a reader.
func (s *sources) subscribed(module string) map[string]*work.Reader {
	readers := map[string]*work.Reader{}
	for _, stream := range s.streams.subscribed(module) {
		if s.streams.bridged && stream != bus.CommandsOf(module) {
			readers[stream] = s.reader(relay.ReaderOf(module, stream), store.NewInbound(s.db, module, stream), 0)
		} else {
			readers[stream] = s.reader(stream, store.NewSource(s.db, stream, store.Table(stream), false), 0)
		}
	}
	return readers
}

// published returns the readers of what a module publishes and sends.
func (s *sources) published(module string) map[string]*work.Reader {
	readers := map[string]*work.Reader{}
	for _, stream := range s.streams.published(module) {
		table := store.Table(stream)
		if topic, sender, command := strings.Cut(stream, "/"); command {
			table = store.OutboxOf(sender, topic)
		}
		readers[stream] = s.reader(stream, store.NewSource(s.db, stream, table, false), relay.PageRows)
	}
	return readers
}

func (s *sources) reader(name string, source *store.Source, page int) *work.Reader {
	if s.readers[name] == nil {
		s.readers[name] = work.NewReader(source, page)
	}
	return s.readers[name]
}
