// Package versions tests that two versions of the program get along: in a
// rolling restart, and after one that is taken back, a process of the version
// before works on a database that this version has migrated.
//
// schema.txt is the schema as the version before knows it. A migration may add to
// it (expand); it takes something away only when the version before does not know
// it any more (contract), so a change of a column's meaning takes two releases. At
// a release `go test ./test/versions -record` writes what there is now, and the
// file before is moved on to the release's commit.
//
// The comparison sees tables, columns, constraints, unique indexes, sequences,
// enumerations, and the names, arguments and results of functions. It does not see
// what the body of a function or a trigger does, nor rights: those are seen by
// test/chaos, which builds the commit named in the file before from this
// repository's history and has it serve on the new database, under load, on
// PostgreSQL and on Kafka's protocol. The commit, too, is moved on at a release.
package versions
