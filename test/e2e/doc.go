// Package e2e runs the whole program, as a person would start it, and checks
// promises that no module keeps alone: over PostgreSQL, over a fake broker, and
// with the tag kafka over Apache Kafka.
package e2e
