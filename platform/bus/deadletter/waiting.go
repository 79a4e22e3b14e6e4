package deadletter

import (
	"fmt"

	"millrace/platform/bus/sqltransport"
)

// unknown is the condition that a row was put aside by a version that did not
// know its type.
const unknown = `(a.state = 'held' AND a.error <> '` + sqltransport.HeldBehind + `')`

// waits is the condition, in SQL, that a row a of a module waits for a version
// that knows its type. It is the first of its key that is open; and either a
// version that did not know it put it aside, or the one that knew it is gone: the
// module is served, and no process hears the type.
func waits(module string) string {
	return fmt.Sprintf(`(a.state IN ('held', 'retrying') AND NOT EXISTS (
			SELECT 1 FROM %[1]s.aside e WHERE e.subscriber = a.subscriber AND e.topic = a.topic AND e.partition = a.partition
			AND e.key = a.key AND e."offset" < a."offset" AND e.state <> 'discarded')
		AND (%[2]s
			OR EXISTS (SELECT 1 FROM bus.processes p WHERE p.expires_at > clock_timestamp() AND a.subscriber = ANY(p.hosts))
			AND NOT EXISTS (SELECT 1 FROM bus.processes p WHERE p.expires_at > clock_timestamp() AND a.subscriber || '/' || a.type = ANY(p.hears))))`,
		module, unknown)
}
