package pgtest

// reap does nothing: the next test process removes what this one leaves.
func reap(string) error { return nil }
