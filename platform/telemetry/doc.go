// Package telemetry is what the program says about itself: its log, its health
// and its metrics.
//
// # The log
//
// One line per event, on standard error: text on a terminal, else JSON. A line
// about a message has message_id, correlation_id, module and subscriber where
// they are known; correlation_id finds the whole conversation, from the HTTP
// request on. Payloads, metadata and SQL arguments are never logged: what
// Watermill wants to log beside the fields that are known to be harmless is
// replaced ([Watermill]).
//
// # Health
//
// GET /livez answers 200 as long as the program can answer at all: restart it
// if it does not. GET /readyz answers 200 if every [Check] holds, else 503 and
// which do not, since when if the error has a method Since, and what to do about
// it: send no requests until it does. Both are JSON. The errors themselves are logged, when a check's answer changes,
// and are not shown.
//
// # Metrics
//
// GET /metrics answers in Prometheus' text format: what the program counts
// ([Metric]), and Go's and the operating system's figures of the process. Nothing
// in it comes from a message.
package telemetry
