// Package split runs the compiled program on a real Apache Kafka, as one process and
// as one process for each module, and checks the results that the program's own
// commands report.
package split
