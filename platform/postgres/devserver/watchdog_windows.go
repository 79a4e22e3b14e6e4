package devserver

// watchdog: the job object does its work here, but for removing an ephemeral
// folder, which is left to RemoveUnused.
type watchdog struct{}

func watch(int, layout, bool) (watchdog, error) { return watchdog{}, nil }

func (watchdog) release() {}
