// Package kafka holds a whole transport against brokers that misbehave. Events
// and commands are said all the time meanwhile; afterwards each had one effect,
// in order, and no request failed.
//
// What a broker in this process can show has no build tag. Under the tag kafka
// are real brokers that are killed, hang, are away for a minute, lose answers,
// change leaders, lose a topic, or have poisoned ones, while members of a group
// join and leave; that needs Java and Maven (see test/broker). With
// MILLRACE_KAFKA_AWAY=5m they are away for so long (make kafka-away). Under the tag cloudevents a program of another language, with its
// own Kafka client and CloudEvents SDK, reads what we write and writes what we
// read; that needs .ci/venv with the packages cloudevents and kafka-python too.
package kafka
