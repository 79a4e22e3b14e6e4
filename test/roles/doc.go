// Package roles proves that each module can do with the database what its
// database role needs, and nothing else: on a real PostgreSQL, with the product's
// own modules, signed in as the users that an operator would make.
//
// Every statement is tried, each role on each thing that the catalogue lists: a
// table that a later migration adds is in the matrix or makes the test red.
// testdata/matrix.txt is the matrix, to be read; -update writes it.
package roles
