// Package kafka tests the Kafka transport with brokers that misbehave. Events and
// commands are published throughout. Afterwards each must have had one effect, in
// order, and no request may have failed.
//
// The build tags:
//
//   - slow: a fake broker in the test's process.
//   - kafka: real brokers that are killed, hang, are away for a minute, lose
//     replies, change leaders, lose a topic, or contain poison records, while
//     members join and leave a group. Needs Java and Maven (see test/broker).
//     MILLRACE_KAFKA_AWAY=5m lengthens the minute (make kafka-away).
//   - cloudevents: a program in another language, with its own Kafka client and
//     CloudEvents SDK, reads our records and writes records for us. Also needs
//     .ci/venv with the packages cloudevents and kafka-python.
package kafka
