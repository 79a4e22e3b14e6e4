package deadletter

import (
	"fmt"

	"millrace/platform/bus/store"
)

// unknown is the condition that a version parked a row because it did not know
// its type.
const unknown = `a.state = 'awaiting_version'`

// waits is the condition, in SQL, that a row a of a module waits for a version
// that knows its type. It is the first open one of its key. Either a version that did
// not know the type parked it, or the version that knew it is gone: a process hosts
// the module, and none subscribes to the type.
func waits(module string) string {
	return fmt.Sprintf(`(a.state IN ('blocked', 'awaiting_version', 'retry_scheduled') AND NOT EXISTS (
			SELECT 1 FROM %[1]s.parked_messages e WHERE e.subscriber = a.subscriber AND e.topic = a.topic AND e.partition = a.partition
			AND e.key = a.key AND e."offset" < a."offset" AND e.state <> 'discarded')
		AND (%[2]s
			OR EXISTS (SELECT 1 FROM bus.nodes p WHERE %[3]s AND a.subscriber = ANY(p.modules))
			AND NOT EXISTS (SELECT 1 FROM bus.nodes p WHERE %[3]s AND a.subscriber || '/' || a.type = ANY(p.subscriptions))))`,
		module, unknown, store.Living)
}
