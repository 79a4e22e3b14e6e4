// Package split runs the compiled program against a real Apache Kafka, as one
// process and as one for each module, and wants of each run what the program
// itself says that it proved.
package split
