// Package versions tests that the previous version of the program works on a database
// that this version has migrated, as in a rolling restart or after a rollback.
//
// schema.txt is the schema of the previous version. A migration may add to it
// (expand), and remove something only when the previous version does not use it any
// more (contract). So a change of a column's meaning takes two releases. At a
// release, `go test ./test/versions -record` writes the present schema, and the
// file named "before" gets the release's commit.
//
// The comparison covers tables, columns, constraints, unique indexes, sequences,
// enum values, and the names, arguments and results of functions. It does not cover
// the bodies of functions and triggers, nor rights. For these, test/chaos builds the
// commit in the file "before" from this repository's history, and runs it on the
// new database under load, on PostgreSQL and on Kafka's protocol.
package versions
