// Package kafka holds a whole transport against brokers that misbehave. Events
// and commands are said all the time meanwhile; afterwards each had one effect,
// in order, and no request failed.
//
// What a broker in this process can show has no build tag. Under the tag kafka
// are real brokers that are killed, hang, lose answers, change leaders, or lose a
// topic, while members of a group join and leave; that needs Java and Maven (see
// test/broker). Under the tag cloudevents a program of another language, with its
// own Kafka client and CloudEvents SDK, reads what we write and writes what we
// read; that needs .ci/venv with the packages cloudevents and kafka-python too.
package kafka
