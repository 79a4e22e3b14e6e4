// Package telemetry provides the program's log, health checks and metrics.
//
// # Log
//
// One line per event on standard error: text on a terminal, else JSON. A line
// about a message has message_id, correlation_id, module and subscriber where
// they are known; correlation_id finds everything that one HTTP request caused.
// Payloads, metadata and SQL arguments are never logged: [Watermill] drops
// every field that Watermill logs and that is not known to be harmless. Error
// texts and messages of libraries are masked by package redact, and control
// characters are escaped, so that a line cannot control the terminal.
//
// # Health
//
// GET /livez answers 200 while the program can answer at all: restart it if it
// does not. GET /readyz answers 200 if every [Check] passes. Else it answers
// 503 and names the failed checks, since when they fail (if the error has a
// method Since) and what to do: send no requests until they pass. Both answers
// are JSON. The errors themselves are logged, when a check's result changes,
// and are not shown.
//
// # Metrics
//
// GET /metrics answers in Prometheus' text format: the program's figures
// ([Metric]), and those of the Go runtime and the process. Nothing in them
// comes from a message.
package telemetry
