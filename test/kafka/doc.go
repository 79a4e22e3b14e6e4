// Package kafka holds what only a real Apache Kafka can show: a whole transport
// while its brokers are killed, hang, lose answers, change leaders, or lose a
// topic. Events and commands are said all the time meanwhile; afterwards each had
// one effect, in order, and no request failed.
//
// The tests have the build tag kafka, and need Java and Maven (see test/broker).
package kafka
