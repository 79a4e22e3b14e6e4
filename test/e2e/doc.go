// Package e2e runs the compiled program as a user would, and tests behaviour that
// spans several modules: on PostgreSQL, with the tag slow on a fake broker, and with
// the tag kafka on Apache Kafka.
package e2e
